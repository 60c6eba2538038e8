//! What time the registry has.

use jiff::Timestamp;
use reqwest::Method;

use super::{Listing, RegistryClient, RegistryClientError};

/// A name that nobody is called, so that the answer is short.
const NOBODY: &str = "portolan-clock";

// === impl RegistryClient ===

impl RegistryClient {
    /// The registry's clock, to the second; none where its answers do not tell. It is asked for as
    /// services are, so that this fails where that would.
    pub async fn clock(&self) -> Result<Option<Timestamp>, RegistryClientError> {
        let services = self.request(Method::GET, &["services".to_owned()]);
        let answer = self.send(services.query(&[("name", NOBODY)])).await?.accepted()?;
        let date = answer.date();
        answer.json::<Listing>().await?;
        Ok(date)
    }
}
