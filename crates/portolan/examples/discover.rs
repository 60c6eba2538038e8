//! Discovers a service by name and prints the result of each strategy.
//!
//! `cargo run -p portolan --example discover -- postgres-primary [SCOPE]`

#![allow(clippy::print_stdout, reason = "an example prints its results")]

use std::time::Duration;

use portolan::DiscoveryClient;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = std::env::args().nth(1).ok_or("name a service, such as postgres-primary")?;
    let scope = std::env::args().nth(2).unwrap_or_else(|| "default".to_owned());
    // A registry on this host is found automatically; `.registry_url(…)` sets another.
    let client = DiscoveryClient::builder().scope(scope.parse()?).build()?;
    let explanation =
        client.discover(&name).timeout(Duration::from_secs(5)).retries(3).explain().await;
    println!("{explanation}");
    client.close().await;
    Ok(())
}
