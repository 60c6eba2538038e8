//! The whole life of a service: bind, register and announce, keep alive, drain, deregister.
//!
//! `cargo run -p portolan --example service`, then `portolan discover greeter-api`

#![allow(clippy::print_stdout, reason = "an example speaks to the person who runs it")]

use portolan::{
    Agent, BroadcastConfig, Broadcaster, Host, Metrics, PortAllocator, Registration,
    RegistryClient, RegistryClientConfig,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

const NAME: &str = "greeter-api";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Bind: the lease's own socket becomes the listener.
    let lease = PortAllocator::new(Default::default())?.allocate(NAME, 8080)?;
    let port = lease.port();
    let listener = lease.into_listener()?;
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;

    // Register and announce. From here on the agent keeps the service alive, checks it by
    // connecting to it, answers queries, and registers it again where the registry forgot it.
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

    // Deregister before the socket is closed: nobody shall be sent here any more.
    agent.stop().await;
    broadcaster.stop().await;
    Ok(())
}

async fn serve_until_interrupted(listener: &TcpListener) -> std::io::Result<()> {
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (mut stream, peer) = accepted?;
                // A client that hangs up early is no reason to stop serving others.
                _ = stream.write_all(format!("hello, {peer}\n").as_bytes()).await;
            }
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}
