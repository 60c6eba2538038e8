//! The signals that ask a program to end.

/// Waits for SIGTERM, which service managers send, or SIGINT, which Ctrl-C sends.
pub async fn stop_signal() {
    tokio::select! {
        () = terminated() => {}
        Ok(()) = tokio::signal::ctrl_c() => {}
        else => std::future::pending().await,
    }
}

#[cfg(unix)]
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut signal) => _ = signal.recv().await,
        // Without a handler the signal ends the process.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn terminated() {
    std::future::pending().await
}
