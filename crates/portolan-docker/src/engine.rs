//! A Docker engine: the four requests that registering containers takes, over its Unix socket.
//!
//! Paths have no version, so that every engine answers with its own; the members that are read are in all of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portolan_core::escaped_line;
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::timeout;

use crate::compose::ProjectContainer;
use crate::container::{Container, Listed};
use crate::error::DockerError;
use crate::events::{ContainerEvent, EventStream, FILTERS};

/// How long an answer may take. The engine answers within milliseconds unless it starts many containers.
const ANSWER: Duration = Duration::from_secs(10);
/// The limit on the list of running containers in bytes: about ten thousand.
const LIST: usize = 32 << 20;
/// The limit on every other answer in bytes.
const BODY: usize = 4 << 20;
/// The label of the containers of a Compose project.
const PROJECT: &str = "com.docker.compose.project";
/// How much of the engine's reason an error has, in characters.
const MESSAGE: usize = 500;

/// A client of a Docker engine.
#[derive(Debug, Clone)]
pub struct Engine {
    socket: Arc<PathBuf>,
    client: Client,
}

/// The ends and removals of containers.
#[derive(Debug)]
pub struct ContainerEnds(EventStream);

#[derive(Deserialize)]
struct Info {
    #[serde(rename = "ID", default)]
    id: String,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    message: String,
}

// === impl ContainerEnds ===

impl ContainerEnds {
    /// Waits for the next one. Cancel-safe.
    ///
    /// # Errors
    /// The engine has ended the connection.
    pub async fn next(&mut self) -> Result<(), DockerError> {
        while !matches!(self.0.next().await?, ContainerEvent::Ended(_)) {}
        Ok(())
    }
}

// === impl Engine ===

impl Engine {
    /// Creates a client, which connects by its first request.
    ///
    /// # Errors
    /// The client cannot be created, which retrying does not resolve.
    pub fn new(socket: impl Into<PathBuf>) -> Result<Self, DockerError> {
        let socket = socket.into();
        // No authority of the system, which an image need not have: there is no TLS on this socket.
        let builder = Client::builder().unix_socket(socket.clone()).no_proxy().tls_certs_only([]);
        let client = builder.build();
        let client = client.map_err(|error| DockerError::unreachable(&socket, &error))?;
        Ok(Self { socket: Arc::new(socket), client })
    }

    /// Returns the path of the socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Returns the id of the engine, which it keeps across restarts.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn id(&self) -> Result<String, DockerError> {
        let info: Info = self.json("/info", BODY).await?;
        // Podman has none.
        Ok(if info.id.is_empty() { "engine".to_owned() } else { info.id })
    }

    /// Returns the running containers, including the paused ones.
    pub(crate) async fn running(&self) -> Result<Vec<Listed>, DockerError> {
        self.json("/containers/json", LIST).await
    }

    /// Returns a container; `None` if there is none with this id.
    pub(crate) async fn container(&self, id: &str) -> Result<Option<Container>, DockerError> {
        // An id in an event is hexadecimal. Anything else could be another path.
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Ok(None);
        }
        match self.json(&format!("/containers/{id}/json"), BODY).await {
            Err(error) if error.is_not_found() => Ok(None),
            result => result.map(Some),
        }
    }

    /// Returns the containers of a Compose project, running or not.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn project(&self, name: &str) -> Result<Vec<ProjectContainer>, DockerError> {
        let filters = json!({ "label": [format!("{PROJECT}={name}")] });
        let mut url = url::Url::parse("http://docker/containers/json").expect("it is a constant");
        url.query_pairs_mut().append_pair("all", "1").append_pair("filters", &filters.to_string());
        self.json_at(url.as_str(), LIST).await
    }

    /// Subscribes to the ends of containers. What happens after this call is in it.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn container_ends(&self) -> Result<ContainerEnds, DockerError> {
        Ok(ContainerEnds(self.events().await?))
    }

    /// Opens the stream of the events that concern instances. What happens after this call is in the stream.
    pub(crate) async fn events(&self) -> Result<EventStream, DockerError> {
        let mut url = url::Url::parse("http://docker/events").expect("it is a constant");
        url.query_pairs_mut().append_pair("filters", FILTERS);
        Ok(EventStream::new(self.get(url.as_str()).await?, self.clone()))
    }

    async fn json<T: DeserializeOwned>(&self, path: &str, limit: usize) -> Result<T, DockerError> {
        self.json_at(&format!("http://docker{path}"), limit).await
    }

    async fn json_at<T: DeserializeOwned>(
        &self,
        url: &str,
        limit: usize,
    ) -> Result<T, DockerError> {
        let response = self.get(url).await?;
        let body = self.in_time(self.body(response, limit)).await?;
        serde_json::from_slice(&body).map_err(|error| self.bad_answer(&error.to_string()))
    }

    async fn get(&self, url: &str) -> Result<Response, DockerError> {
        let send = async {
            let sent = self.client.get(url).send().await;
            sent.map_err(|error| DockerError::unreachable(&self.socket, &error))
        };
        let response = self.in_time(send).await?;
        match response.status() {
            StatusCode::OK => Ok(response),
            status => {
                let body = self.in_time(self.body(response, BODY)).await.unwrap_or_default();
                let message = serde_json::from_slice::<Message>(&body).map(|it| it.message);
                let message: String = message.unwrap_or_default().chars().take(MESSAGE).collect();
                let message = escaped_line(&message).into_owned();
                let (socket, status) = (self.socket.to_path_buf(), status.as_u16());
                Err(DockerError::Refused { socket, status, message })
            }
        }
    }

    async fn body(&self, mut response: Response, limit: usize) -> Result<Vec<u8>, DockerError> {
        let mut body = Vec::new();
        loop {
            let chunk = response.chunk().await;
            let chunk = chunk.map_err(|error| DockerError::unreachable(&self.socket, &error))?;
            let Some(chunk) = chunk else { return Ok(body) };
            if body.len() + chunk.len() > limit {
                return Err(self.bad_answer(&format!("it has more than {limit} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
    }

    async fn in_time<T>(
        &self,
        answer: impl Future<Output = Result<T, DockerError>>,
    ) -> Result<T, DockerError> {
        timeout(ANSWER, answer).await.unwrap_or_else(|_| {
            let reason = format!("no answer within {} s", ANSWER.as_secs());
            Err(DockerError::Unreachable { socket: self.socket.to_path_buf(), reason, kind: None })
        })
    }

    pub(crate) fn bad_answer(&self, reason: &str) -> DockerError {
        let reason = escaped_line(reason).into_owned();
        DockerError::BadAnswer { socket: self.socket.to_path_buf(), reason }
    }
}
