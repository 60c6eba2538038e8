//! The worker of the quickstart: discovers the API by name and calls it.
//!
//! The worker keeps no address. After a failed call it reports the failure to the client, which
//! then returns another instance.

// The program prints the API's responses.
#![allow(clippy::print_stdout, reason = "a command line program prints")]

use std::time::Duration;

use anyhow::{Context, Result};
use portolan::{DiscoveryClient, ServiceEndpoint};
use portolan_example_quickstart::{discovery, log, told_to_stop};
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

#[tokio::main]
async fn main() -> Result<()> {
    log();
    let discovery = discovery()?;
    let http = reqwest::Client::builder().timeout(Duration::from_secs(2)).build()?;
    tokio::select! {
        () = work(&discovery, &http) => {}
        stopped = told_to_stop() => stopped?,
    }
    discovery.close().await;
    Ok(())
}

/// Calls the API every second.
async fn work(discovery: &DiscoveryClient, http: &reqwest::Client) {
    let mut every_second = interval(Duration::from_secs(1));
    every_second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every_second.tick().await;
        if let Err(error) = ask_once(discovery, http).await {
            warn!(service_name = "api", error = format!("{error:#}"), "request to the API failed");
        }
    }
}

async fn ask_once(discovery: &DiscoveryClient, http: &reqwest::Client) -> Result<()> {
    let api = discovery.discover("api").timeout(Duration::from_secs(5)).await?;
    match call(http, &api).await {
        Ok(answer) => println!("{} says {answer}", api.address()),
        Err(error) => {
            // The client avoids this address until it is known to be up again.
            discovery.report_failure(&api);
            return Err(error).context(format!("{} did not answer", api.address()));
        }
    }
    Ok(())
}

async fn call(http: &reqwest::Client, api: &ServiceEndpoint) -> Result<String> {
    let response = http.get(format!("http://{}/", api.address())).send().await?;
    Ok(response.error_for_status()?.text().await?)
}
