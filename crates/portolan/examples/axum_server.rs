//! An HTTP server that takes the socket it inherits, and binds `PORT` itself where there is none.
//!
//! `portolan run --name greeter-api --handoff socket -- axum_server`: nobody else can have its port,
//! at no moment. Started by hand, or by anything that sets `PORT`, the same program works too.

#![allow(clippy::print_stdout, reason = "an example speaks to the person who runs it")]

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

/// The first socket of sd_listen_fds(3), where `LISTEN_PID` says that it is meant for this process.
fn inherited() -> std::io::Result<Option<TcpListener>> {
    let Some(listener) = ListenFd::from_env().take_tcp_listener(0)? else { return Ok(None) };
    // It blocks, and tokio wants sockets that do not.
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener).map(Some)
}

/// Binds the port that `PORT` says, beside the guard that keeps it: tokio sets `SO_REUSEADDR`.
async fn bind() -> Result<TcpListener, Box<dyn std::error::Error>> {
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    Ok(TcpListener::bind(("127.0.0.1", port.parse()?)).await?)
}

/// Portolan deregisters a service first, and then asks its program to end with SIGTERM.
async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut asked) => _ = asked.recv().await,
        Err(_) => std::future::pending().await,
    }
}
