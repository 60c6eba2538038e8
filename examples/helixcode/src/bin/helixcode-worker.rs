//! A worker: takes jobs from Redis and writes the results to PostgreSQL.
//!
//! The worker discovers both servers by name on every connect. If a server moves to another port,
//! the worker loses its connection, discovers the server again and continues.

use std::time::Duration;

use anyhow::{Context, Result};
use portolan::DiscoveryClient;
use portolan_example_helixcode::database::Database;
use portolan_example_helixcode::jobs;
use portolan_example_helixcode::process::{discovery, log, told_to_stop};
use portolan_example_helixcode::queue::Queue;
use tracing::{info, warn};

/// The wait before reconnecting.
const PAUSE: Duration = Duration::from_millis(500);

#[tokio::main]
async fn main() -> Result<()> {
    log();
    let worker = std::env::args().nth(1).context("usage: helixcode-worker NAME")?;
    let discovery = discovery()?;
    tokio::select! {
        () = work_on(&discovery, &worker) => {}
        stopped = told_to_stop() => stopped?,
    }
    discovery.close().await;
    Ok(())
}

/// Processes jobs and reconnects after an error.
async fn work_on(discovery: &DiscoveryClient, worker: &str) {
    loop {
        if let Err(error) = work(discovery, worker).await {
            warn!(worker, error = format!("{error:#}"), "interrupted");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Processes jobs until an error occurs.
async fn work(discovery: &DiscoveryClient, worker: &str) -> Result<()> {
    let database = database(discovery).await?;
    let mut queue = queue(discovery).await?;
    info!(worker, "waiting for jobs");
    loop {
        let Some(id) = queue.pop().await? else { continue };
        match jobs::work(database.client(), id, worker).await {
            Ok(true) => info!(worker, job = id, "job done"),
            Ok(false) => info!(worker, job = id, "job was done already"),
            Err(error) => {
                // Another worker may succeed.
                queue.push(id).await?;
                return Err(error);
            }
        }
    }
}

async fn database(discovery: &DiscoveryClient) -> Result<Database> {
    let place = discovery.discover("postgres").await?;
    let connected = Database::connect(&place.host.to_string(), place.port).await;
    connected.inspect_err(|_| discovery.report_failure(&place))
}

async fn queue(discovery: &DiscoveryClient) -> Result<Queue> {
    let place = discovery.discover("redis").await?;
    let connected = Queue::connect(&place.host.to_string(), place.port).await;
    connected.inspect_err(|_| discovery.report_failure(&place))
}
