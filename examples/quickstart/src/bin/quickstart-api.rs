//! The API of the quickstart: a real web server that listens on the port it is given.
//!
//! `portolan up` and `portolan run` pass the port in `PORT` and register, announce and check the
//! service. Started alone, the program leases a port and gets a bound socket.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result};
use axum::extract::State;
use axum::{Json, Router, routing::get};
use portolan::PortAllocator;
use portolan_example_quickstart::{log, told_to_stop};
use serde_json::{Value, json};
use tracing::info;

#[tokio::main]
async fn main() -> Result<()> {
    log();
    let listener = listener()?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    info!(service_name = "api", port, "listening");

    let routes =
        Router::new().route("/", get(greet)).route("/health", get(async || "ok")).with_state(port);
    let stop = async { told_to_stop().await.unwrap_or_default() };
    axum::serve(tokio::net::TcpListener::from_std(listener)?, routes)
        .with_graceful_shutdown(stop)
        .await?;
    info!(service_name = "api", port, "stopped");
    Ok(())
}

/// Responds with a text that identifies the instance.
async fn greet(State(port): State<u16>) -> Json<Value> {
    Json(json!({ "greeting": "hello", "port": port, "pid": std::process::id() }))
}

/// Returns a socket on the port in `PORT`; if unset, on a leased port.
fn listener() -> Result<TcpListener> {
    match std::env::var("PORT") {
        Ok(port) => {
            let port: u16 = port.parse().context("PORT is not a port from 1 to 65535")?;
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
            listener.with_context(|| format!("cannot listen on port {port}"))
        }
        Err(_) => {
            let lease = PortAllocator::new(Default::default())?.allocate("api", 8080)?;
            Ok(lease.into_listener()?)
        }
    }
}
