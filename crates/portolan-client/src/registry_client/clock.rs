//! The registry's clock.

use jiff::Timestamp;
use reqwest::Method;

use super::client::RegistryClient;
use super::error::RegistryClientError;
use super::query::Listing;

/// A name without instances, so that the response is short.
const UNUSED_NAME: &str = "portolan-clock";

// === impl RegistryClient ===

impl RegistryClient {
    /// Returns the registry's clock, to the second; `None` if responses have no `Date` header. The
    /// request is a list of services, so it fails whenever a list fails.
    pub async fn clock(&self) -> Result<Option<Timestamp>, RegistryClientError> {
        let services = self.request(Method::GET, &["services".to_owned()]);
        let response = self.send(services.query(&[("name", UNUSED_NAME)])).await?.accepted()?;
        let date = response.date();
        response.json::<Listing>().await?;
        Ok(date)
    }
}
