//! The life cycle of a service: bind, register, announce, renew, deregister, drain.
//!
//! `cargo run -p portolan --example service`, then `portolan discover greeter-api`

#![allow(clippy::print_stdout, reason = "an example prints its results")]

use portolan::{
    Agent, BroadcastConfig, Broadcaster, Host, Metrics, PortAllocator, Registration,
    RegistryClient, RegistryClientConfig,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

const NAME: &str = "greeter-api";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Bind: the socket of the lease becomes the listener.
    let lease = PortAllocator::new(Default::default())?.allocate(NAME, 8080)?;
    let port = lease.port();
    let listener = lease.into_listener()?;
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;

    // Register and announce. The agent now sends heartbeats, checks the service by connecting
    // to it, responds to queries, and registers it again if the registry lost it.
    let channel = BroadcastConfig { interface: "127.0.0.1".into(), ..Default::default() };
    let broadcaster = Broadcaster::new(channel, Metrics::new()).await?;
    let agent = Agent::builder(Registration::new(NAME.parse()?, Host::loopback(), port))
        .registry(RegistryClient::new(RegistryClientConfig::default())?)
        .broadcaster(broadcaster.clone())
        .check(Some("tcp".parse()?))
        .start()
        .await?;
    println!("{} at {}; Ctrl-C ends it", agent.id(), agent.endpoint().address());

    serve_until_interrupted(&listener).await?;

    // Deregister before the socket is closed, so that no client is sent here any more.
    agent.stop().await;
    broadcaster.stop().await;
    Ok(())
}

async fn serve_until_interrupted(listener: &TcpListener) -> std::io::Result<()> {
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (mut stream, peer) = accepted?;
                // An error of one connection does not end the server.
                _ = stream.write_all(format!("hello, {peer}\n").as_bytes()).await;
            }
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}
