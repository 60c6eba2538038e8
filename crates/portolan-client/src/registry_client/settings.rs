//! The settings of services in a registry: a JSON object for each, with versions.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use portolan_core::{Backoff, Scope, ServiceName};
use reqwest::header::{ACCEPT, CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH};
use reqwest::{Method, RequestBuilder};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::client::RegistryClient;
use super::error::RegistryClientError;
use super::event_connection::EventConnection;

/// The largest event: far more than settings may have.
const MAX_EVENT: usize = 1 << 20;
/// The waits before a watch connects again.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LONGEST: Duration = Duration::from_secs(10);
/// How often an update is repeated because another writer came first.
const ATTEMPTS: u32 = 1_000;

/// A version of the settings of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SettingsVersion {
    /// The service.
    pub name: ServiceName,
    /// Its scope.
    pub scope: Scope,
    /// 1 for the first version, and one more with each change; 0 if the service never had settings.
    pub version: u64,
    /// When it was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// The identity that stored it; `anyone` if the registry requires none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// How it was made: `set`, `patch`, `delete`, `rollback` or `schema`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The version that a rollback has restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// The settings, a JSON object; `None` if they were deleted, or there are none yet.
    pub value: Option<Value>,
}

/// Why an update of settings was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError<E> {
    /// The callback has vetoed it. Nothing has changed.
    #[error("the update was vetoed: {0}")]
    Veto(E),
    /// The settings have another type than that of the update. Nothing has changed.
    #[error("the settings of {name} do not have the expected type: {problem}")]
    Type {
        /// The service.
        name: ServiceName,
        /// What is wrong.
        problem: String,
    },
    /// The registry has refused it, or cannot be reached.
    #[error(transparent)]
    Registry(#[from] RegistryClientError),
}

/// The settings of one service in a registry.
#[derive(Debug, Clone)]
pub struct SettingsClient {
    registry: RegistryClient,
    name: ServiceName,
    scope: Scope,
}

/// The settings of a service as they change. Reconnects by itself.
pub struct SettingsWatch {
    client: SettingsClient,
    connection: Option<EventConnection>,
    seen: Option<u64>,
    backoff: Backoff,
}

// === impl RegistryClient ===

impl RegistryClient {
    /// Returns the client of the settings of a service.
    pub fn settings(&self, name: ServiceName, scope: Scope) -> SettingsClient {
        SettingsClient { registry: self.clone(), name, scope }
    }
}

// === impl SettingsClient ===

impl SettingsClient {
    /// Returns the settings in force; `None` if there are none.
    pub async fn get(&self) -> Result<Option<SettingsVersion>, RegistryClientError> {
        match self.answer(self.request(Method::GET, None)).await {
            Err(RegistryClientError::NoSettings { .. }) => Ok(None),
            result => result.map(Some),
        }
    }

    /// Returns the versions that are kept, the newest first.
    pub async fn history(&self) -> Result<Vec<SettingsVersion>, RegistryClientError> {
        #[derive(Deserialize)]
        struct History {
            versions: Vec<SettingsVersion>,
        }
        let history: History = self.answer(self.request(Method::GET, Some("history"))).await?;
        Ok(history.versions)
    }

    /// Replaces the settings as a whole. With `expected` only if that is the newest version, 0 for settings that do not
    /// exist; else it fails with [`RegistryClientError::VersionConflict`], and nothing has changed.
    pub async fn set(
        &self,
        value: &Value,
        expected: Option<u64>,
    ) -> Result<SettingsVersion, RegistryClientError> {
        self.answer(conditional(self.request(Method::PUT, None), expected).json(value)).await
    }

    /// Changes some members, by a JSON merge patch (RFC 7396): `null` removes one.
    pub async fn patch(
        &self,
        patch: &Value,
        expected: Option<u64>,
    ) -> Result<SettingsVersion, RegistryClientError> {
        let request = conditional(self.request(Method::PATCH, None), expected).json(patch);
        self.answer(request.header(CONTENT_TYPE, "application/merge-patch+json")).await
    }

    /// Deletes the settings. Their versions are kept.
    pub async fn delete(
        &self,
        expected: Option<u64>,
    ) -> Result<SettingsVersion, RegistryClientError> {
        self.answer(conditional(self.request(Method::DELETE, None), expected)).await
    }

    /// Restores the value of an earlier version, as a new one.
    pub async fn roll_back(
        &self,
        version: u64,
        expected: Option<u64>,
    ) -> Result<SettingsVersion, RegistryClientError> {
        let request = conditional(self.request(Method::POST, Some("rollback")), expected);
        self.answer(request.json(&json!({"version": version}))).await
    }

    /// Returns the JSON Schema that new values must meet; `None` if there is none.
    pub async fn schema(&self) -> Result<Option<Value>, RegistryClientError> {
        match self.answer(self.request(Method::GET, Some("schema"))).await {
            Err(RegistryClientError::NoSettings { .. }) => Ok(None),
            result => result.map(Some),
        }
    }

    /// Sets the JSON Schema that new values must meet, and the settings in force too; `None` removes it.
    pub async fn set_schema(
        &self,
        schema: Option<&Value>,
        expected: Option<u64>,
    ) -> Result<SettingsVersion, RegistryClientError> {
        let request = |method| conditional(self.request(method, Some("schema")), expected);
        self.answer(match schema {
            Some(schema) => request(Method::PUT).json(schema),
            None => request(Method::DELETE),
        })
        .await
    }

    /// Updates the settings by compare-and-set: calls `change` with the settings in force, or the default value if there
    /// are none, and stores what it makes of them. If another writer came first, it is called again with the newer settings. It
    /// may veto by an error; then nothing changes.
    ///
    /// A request whose answer is lost may be repeated with another server, so that a change which depends on how often it is
    /// made, such as counting, can be made twice.
    pub async fn update<T, E>(
        &self,
        mut change: impl FnMut(&mut T) -> Result<(), E>,
    ) -> Result<SettingsVersion, UpdateError<E>>
    where
        T: Serialize + DeserializeOwned + Default,
    {
        let wrong = |error: serde_json::Error| UpdateError::Type {
            name: self.name.clone(),
            problem: error.to_string(),
        };
        let mut attempt = 0;
        loop {
            let known = self.get().await?;
            let expected = known.as_ref().map_or(0, |known| known.version);
            let mut value: T = match known.and_then(|known| known.value) {
                Some(value) => serde_json::from_value(value).map_err(wrong)?,
                None => T::default(),
            };
            change(&mut value).map_err(UpdateError::Veto)?;
            let value = serde_json::to_value(value).map_err(wrong)?;
            attempt += 1;
            match self.set(&value, Some(expected)).await {
                Err(RegistryClientError::VersionConflict { .. }) if attempt < ATTEMPTS => {}
                result => return Ok(result?),
            }
        }
    }

    /// Watches the settings.
    pub fn watch(&self) -> SettingsWatch {
        SettingsWatch {
            client: self.clone(),
            connection: None,
            seen: None,
            backoff: Backoff::new(RETRY_FIRST, RETRY_LONGEST).jitter(0.2),
        }
    }

    fn request(&self, method: Method, what: Option<&str>) -> RequestBuilder {
        let path = ["settings", self.name.as_str()].into_iter().chain(what).map(str::to_owned);
        let request = self.registry.request(method, &path.collect::<Vec<_>>());
        request.query(&[("scope", self.scope.as_str())])
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, RegistryClientError> {
        self.registry.send(request).await?.accepted()?.json().await
    }
}

fn conditional(request: RequestBuilder, expected: Option<u64>) -> RequestBuilder {
    match expected {
        None => request,
        Some(0) => request.header(IF_NONE_MATCH, "*"),
        Some(version) => request.header(IF_MATCH, format!("\"{version}\"")),
    }
}

// === impl SettingsWatch ===

impl SettingsWatch {
    /// Waits for the settings: first what they are, then each change. While the registry cannot be reached, it connects
    /// again. Versions that follow each other quickly may be left out; the newest one is not.
    ///
    /// # Errors
    ///
    /// If waiting cannot help, such as for lack of a right.
    pub async fn next(&mut self) -> Result<SettingsVersion, RegistryClientError> {
        loop {
            match self.receive().await {
                Ok(settings) => {
                    self.seen = Some(settings.version);
                    self.backoff.reset();
                    return Ok(settings);
                }
                Err(error) if error.is_temporary() => {
                    self.connection = None;
                    sleep(self.backoff.next_wait()).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for the next version on the connection, which is opened before if necessary.
    async fn receive(&mut self) -> Result<SettingsVersion, RegistryClientError> {
        let opened = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let connection = self.connection.insert(opened);
        loop {
            let frame = connection.next().await?;
            if frame.kind == "settings" {
                return serde_json::from_str(&frame.data).map_err(|error| {
                    RegistryClientError::bad_answer(connection.url(), error.to_string())
                });
            }
        }
    }

    async fn connect(&self) -> Result<EventConnection, RegistryClientError> {
        let request = self.client.request(Method::GET, Some("watch"));
        let request = request.header(ACCEPT, "text/event-stream");
        let request = match self.seen {
            Some(seen) => request.header("last-event-id", seen.to_string()),
            None => request,
        };
        let response = self.client.registry.send(request).await?.accepted()?;
        let url = response.url().to_owned();
        Ok(EventConnection::new(response.into_event_stream()?, url, MAX_EVENT))
    }
}

impl fmt::Debug for SettingsWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SettingsWatch")
            .field("client", &self.client)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}
