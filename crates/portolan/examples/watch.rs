//! Watches a service and prints its changes until Ctrl-C.
//!
//! `cargo run -p portolan --example watch -- postgres-primary`

#![allow(clippy::print_stdout, reason = "an example prints its results")]

use futures_util::StreamExt;
use portolan::{Change, DiscoveryClient};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = std::env::args().nth(1).ok_or("name a service, such as postgres-primary")?;
    let client = DiscoveryClient::builder().build()?;
    let mut events = client.watch(&name).await?;
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            _ = tokio::signal::ctrl_c() => None,
        };
        match event.as_ref().map(|event| &event.change) {
            None => break,
            // The first event of a watch: the complete state, which replaces all earlier knowledge.
            Some(Change::Snapshot { endpoints, .. }) => println!("{} instances", endpoints.len()),
            Some(change) => {
                let endpoint = change.endpoint().ok_or("a change without an instance")?;
                println!("{} {} {}", change.kind(), endpoint.address(), endpoint.health);
            }
        }
    }
    drop(events);
    client.close().await;
    Ok(())
}
