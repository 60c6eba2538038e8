//! Asks HTTP servers on loopback.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::blocking::Client;
use serde_json::Value;

/// A client with a deadline for everything it asks.
///
/// # Errors
/// It cannot be set up.
pub fn client() -> Result<Client> {
    Ok(Client::builder().timeout(Duration::from_secs(5)).no_proxy().build()?)
}

/// The body of a successful `GET`.
///
/// # Errors
/// No answer, or another status than 2xx.
pub fn get(url: &str) -> Result<String> {
    let response = client()?.get(url).send()?;
    let status = response.status();
    let body = response.text()?;
    ensure!(status.is_success(), "{url} answered {status}: {body}");
    Ok(body)
}

/// The JSON of a successful `GET`.
///
/// # Errors
/// No answer, another status than 2xx, or no JSON.
pub fn get_json(url: &str) -> Result<Value> {
    let body = get(url)?;
    serde_json::from_str(&body).with_context(|| format!("{url} answered no JSON: {body}"))
}
