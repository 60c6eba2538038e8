//! A gRPC server with the standard health protocol: `grpc-health PORT [CERTIFICATE KEY]`. The server and the service
//! `shop.Orders` are SERVING, until SIGUSR1 makes `shop.Orders` NOT_SERVING.

use std::fs;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic_health::ServingStatus;
use tonic_health::server::health_reporter;

const ORDERS: &str = "shop.Orders";

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let port = arguments.first().context("usage: grpc-health PORT [CERTIFICATE KEY]")?.parse()?;
    let (reporter, health) = health_reporter();
    reporter.set_service_status(ORDERS, ServingStatus::Serving).await;
    let mut stops = signal(SignalKind::user_defined1())?;
    tokio::spawn(async move {
        while stops.recv().await.is_some() {
            reporter.set_service_status(ORDERS, ServingStatus::NotServing).await;
        }
    });
    let mut server = Server::builder();
    if let [_, certificate, key] = &arguments[..] {
        let identity = Identity::from_pem(fs::read(certificate)?, fs::read(key)?);
        server = server.tls_config(ServerTlsConfig::new().identity(identity))?;
    }
    Ok(server.add_service(health).serve(SocketAddr::from(([127, 0, 0, 1], port))).await?)
}
