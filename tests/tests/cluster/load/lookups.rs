//! Lookups: at each server, and by a client that knows all of them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use portolan_client::{ListQuery, RegistryClient, RegistryClientConfig};
use serde_json::Value;
use tokio::time::sleep;

use crate::cluster::record::{Lookup, Recording};

/// The time between two lookups.
const INTERVAL: Duration = Duration::from_millis(50);
/// How long a server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The ids of the instances, each with its revision, and the age of the view.
type Listing = (Vec<(String, u64)>, Option<Duration>);

/// Asks one server for ever.
pub(super) async fn ask_one(server: usize, url: String, recording: Arc<Recording>) {
    let http = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build().expect("a client");
    loop {
        let sent = recording.now();
        let listing = ask(&http, &url).await;
        let received = recording.now();
        recording.lookups.lock().push(lookup(server, false, sent, received, listing));
        sleep(INTERVAL).await;
    }
}

/// Asks any of the servers for ever.
pub(super) async fn ask_any(servers: Vec<String>, recording: Arc<Recording>) {
    let config = RegistryClientConfig::new(servers.join(","));
    let client = RegistryClient::new(config).expect("the URLs are valid");
    loop {
        let sent = recording.now();
        let listing = client.list(&ListQuery::default()).await.map_err(anyhow::Error::from);
        let listing = listing.and_then(|listing| read(&serde_json::to_value(listing)?));
        let server = servers.iter().position(|url| *url == client.url()).unwrap_or_default();
        let received = recording.now();
        recording.lookups.lock().push(lookup(server, true, sent, received, listing));
        sleep(INTERVAL).await;
    }
}

fn lookup(
    server: usize,
    any_server: bool,
    sent: Duration,
    received: Duration,
    listing: Result<Listing>,
) -> Lookup {
    let (found, age) = match listing {
        Ok((found, age)) => (Ok(found), age),
        Err(error) => (Err(format!("{error:#}")), None),
    };
    Lookup { server, any_server, sent, received, found, age }
}

async fn ask(http: &reqwest::Client, url: &str) -> Result<Listing> {
    let response = http.get(format!("{url}/api/v1/services")).send().await?;
    ensure!(response.status().is_success(), "{}", response.status());
    read(&response.json().await?)
}

/// Reads the instances of a listing, and how old the server says that its view is.
fn read(listing: &Value) -> Result<Listing> {
    let services = listing["services"].as_array().context("no services")?;
    let instance = |service: &Value| -> Option<(String, u64)> {
        Some((service["id"].as_str()?.to_owned(), service["revision"].as_u64()?))
    };
    let found = services.iter().map(instance).collect::<Option<_>>().context("an instance")?;
    Ok((found, listing["view_age_ms"].as_u64().map(Duration::from_millis)))
}
