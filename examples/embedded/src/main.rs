//! A program that adds its own discovery strategy and its own health check to Portolan.
//!
//! `cargo run --manifest-path examples/embedded/Cargo.toml`

mod hosts_file;
mod marker_file;

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use portolan::{
    CheckSpec, DiscoveryClient, HealthConfig, HealthEvent, HealthMonitor, Metrics, Position, ServiceEndpoint,
};
use tokio::sync::mpsc;

use hosts_file::HostsFile;
use marker_file::MarkerFile;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::temp_dir().join(format!("portolan-embedded-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let ended = run(&directory).await;
    std::fs::remove_dir_all(&directory)?;
    ended
}

async fn run(directory: &Path) -> Result<(), Box<dyn Error>> {
    let hosts = directory.join("hosts");
    std::fs::write(&hosts, "billing 127.0.0.1:9400\n")?;
    let billing = discover(&hosts, "billing").await?;
    check(billing, &directory.join("ready")).await
}

/// Looks the service up in the hosts file, before any other strategy.
async fn discover(hosts: &Path, name: &str) -> Result<ServiceEndpoint, Box<dyn Error>> {
    let strategy = HostsFile::new(hosts);
    let client = DiscoveryClient::builder().strategy(Position::First, strategy).build()?;
    let explanation = client.discover(name).explain().await;
    println!("{explanation}");
    client.close().await;
    Ok(explanation.result?.into())
}

/// Checks the instance until it is passing; its marker file is created once it is critical.
async fn check(billing: ServiceEndpoint, marker: &Path) -> Result<(), Box<dyn Error>> {
    let config = HealthConfig { interval: Duration::from_millis(50), ..HealthConfig::default() };
    let (sender, mut reports) = mpsc::channel(16);
    let monitor = HealthMonitor::new(config, Metrics::new(), sender);
    let spec = CheckSpec::new(format!("marker:{}", marker.display()), MarkerFile::new(marker));
    monitor.watch(&billing, &spec);
    for _ in 0..2 {
        let event = reports.recv().await.ok_or("the monitor has stopped")?;
        let HealthEvent::Changed { id, report } = event else { continue };
        println!("{id} is {}: {}", report.status, report.reason);
        std::fs::write(marker, "")?;
    }
    monitor.stop().await;
    Ok(())
}
