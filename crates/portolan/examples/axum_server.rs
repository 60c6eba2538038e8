//! An HTTP server that uses an inherited socket, and binds `PORT` itself if there is none.
//!
//! `portolan run --name greeter-api --handoff socket -- axum_server`: no other process can bind the
//! port at any time. The program also works without Portolan, with `PORT` set or not.

#![allow(clippy::print_stdout, reason = "an example prints its results")]

use axum::{Router, routing::get};
use listenfd::ListenFd;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (listener, how) = match inherited()? {
        Some(listener) => (listener, "inherited"),
        None => (bind().await?, "bound by itself"),
    };
    println!("listening on {}, {how}", listener.local_addr()?);
    let app = Router::new().route("/", get(|| async { "hello from axum\n" }));
    axum::serve(listener, app).with_graceful_shutdown(asked_to_end()).await?;
    Ok(())
}

/// Returns the first socket of sd_listen_fds(3) if `LISTEN_PID` is this process.
fn inherited() -> std::io::Result<Option<TcpListener>> {
    let Some(listener) = ListenFd::from_env().take_tcp_listener(0)? else { return Ok(None) };
    // tokio requires non-blocking sockets.
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener).map(Some)
}

/// Binds the port in `PORT`, beside its guard if there is one: tokio sets `SO_REUSEADDR`.
async fn bind() -> Result<TcpListener, Box<dyn std::error::Error>> {
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    Ok(TcpListener::bind(("127.0.0.1", port.parse()?)).await?)
}

/// Waits for SIGTERM, which Portolan sends after it deregistered the service.
async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut asked) => _ = asked.recv().await,
        Err(_) => std::future::pending().await,
    }
}
