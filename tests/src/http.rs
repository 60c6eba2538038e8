//! An HTTP client for servers on loopback.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::blocking::Client;
use serde_json::Value;

/// Returns a client with a timeout for each request.
///
/// # Errors
/// The client cannot be built.
pub fn client() -> Result<Client> {
    Ok(Client::builder().timeout(Duration::from_secs(5)).no_proxy().build()?)
}

/// Returns the body of a successful `GET`.
///
/// # Errors
/// No response, or a status other than 2xx.
pub fn get(url: &str) -> Result<String> {
    let response = client()?.get(url).send()?;
    let status = response.status();
    let body = response.text()?;
    ensure!(status.is_success(), "{url} answered {status}: {body}");
    Ok(body)
}

/// Returns the JSON body of a successful `GET`.
///
/// # Errors
/// No response, a status other than 2xx, or a body that is not JSON.
pub fn get_json(url: &str) -> Result<Value> {
    let body = get(url)?;
    serde_json::from_str(&body).with_context(|| format!("{url} did not answer with JSON: {body}"))
}

/// Returns the headers of a successful `HEAD`, as lines of `name: value` with lower-case names.
///
/// # Errors
/// No response, or a status other than 2xx.
pub fn head(url: &str) -> Result<String> {
    let response = client()?.head(url).send()?.error_for_status()?;
    let lines = response
        .headers()
        .iter()
        .map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    Ok(lines.collect())
}
