//! An instance of the service `greeter-api`: start it several times, and stop it with Ctrl-C.
//!
//! `cargo run -p portolan-axum --example axum_service`, then `portolan list`

use std::io::IsTerminal;
use std::time::Duration;

use axum::{Router, routing::get};
use portolan_axum::ServiceOptions;

async fn hello() -> String {
    format!("hello from {}", std::process::id())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(colours).init();
    let app =
        Router::new().route("/", get(hello).post(hello)).route("/healthz", get(|| async { "ok" }));
    let service = ServiceOptions::new("greeter-api")
        .check("http:/healthz".parse()?)
        .grace(Duration::from_secs(10));
    portolan_axum::serve(service, app).await?;
    Ok(())
}
