//! Responses of the registry, read within bounds of size and time.

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use portolan_core::duration::format_duration;
use portolan_core::plain::is_deceptive;
use portolan_core::{SERVERS_HEADER, Vantage};
use reqwest::header::{CONTENT_TYPE, DATE};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use super::error::RegistryClientError;
use super::vantage;

/// The maximum size of a body in bytes: a hundred thousand endpoints.
const MAX_BODY: usize = 64 << 20;
/// The maximum size of a problem document in bytes.
const MAX_PROBLEM: usize = 64 << 10;
/// The maximum number of characters of a problem that an error contains.
const MAX_DETAIL: usize = 1_000;
/// What resolves a refusal that has no remedy of its own.
const TOKEN_REMEDY: &str = "set PORTOLAN_TOKEN to a token of the registry";

/// The head of a response, with the body still unread.
pub(super) struct RegistryResponse {
    response: Response,
    url: String,
    deadline: Instant,
    problem: Option<Problem>,
    is_from_this_host: bool,
}

/// The members of a problem document (RFC 9457) that an error contains.
#[derive(Default, Deserialize)]
pub(super) struct Problem {
    #[serde(default)]
    title: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    remedy: String,
    #[serde(default)]
    r#type: String,
}

/// The header of a response from a view that is older than it may be.
const STALE: &str = "portolan-stale";
/// The type of the problem that an instance is on loopback of another host.
const OUT_OF_REACH: &str = "urn:portolan:problem:out-of-reach";

/// The types of the problems that there are no such settings.
const NO_SETTINGS: [&str; 2] =
    ["urn:portolan:problem:no-settings", "urn:portolan:problem:no-version"];

// === impl RegistryResponse ===

impl RegistryResponse {
    /// Sends a request and receives the head of the response. The body of an error is read here, so
    /// that [`Self::accepted`] has the reason.
    pub(super) async fn receive(
        request: RequestBuilder,
        url: String,
        deadline: Instant,
    ) -> Result<Self, RegistryClientError> {
        let started = Instant::now();
        let sent = timeout_at(deadline, request.send()).await;
        let head = sent
            .map_err(|_| too_late(&url, deadline - started))?
            .map_err(|error| RegistryClientError::in_transit(&url, &error))?;
        let mut response =
            Self { response: head, url, deadline, problem: None, is_from_this_host: false };
        if !response.status().is_success() {
            // The status alone is an error, whether or not the body can be read.
            let body = response.body(MAX_PROBLEM).await.unwrap_or_default();
            response.problem = Some(serde_json::from_slice(&body).unwrap_or_default());
        }
        Ok(response)
    }

    /// The response came by a Unix socket.
    pub(super) fn on_this_host(self) -> Self {
        Self { is_from_this_host: true, ..self }
    }

    /// The URL of the server that responded.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Sets until when the body may be read.
    pub(super) fn until(self, deadline: Instant) -> Self {
        Self { deadline, ..self }
    }

    /// Whether the server cannot serve requests at the moment, and another one over the same store may.
    pub(super) fn is_not_ready(&self) -> bool {
        self.status() == StatusCode::SERVICE_UNAVAILABLE
    }

    /// Whether the server says that its view is old, so that another one over the same store may know more.
    pub(super) fn is_stale(&self) -> bool {
        self.response.headers().contains_key(STALE)
    }

    /// The URLs of the registry's servers, if the response lists them.
    pub(super) fn servers(&self) -> Option<&str> {
        let listed = self.response.headers().get(SERVERS_HEADER)?.to_str().ok();
        listed.filter(|_| self.status().is_success())
    }

    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Returns where this host is, seen from the registry.
    pub(super) fn vantage(&self) -> Vantage {
        match self.is_from_this_host {
            true => Vantage::SameHost,
            false => vantage::of_server(self.response.remote_addr()),
        }
    }

    /// Returns the `Date` header, if there is one.
    pub(super) fn date(&self) -> Option<Timestamp> {
        let date = self.response.headers().get(DATE)?.to_str().ok()?;
        rfc2822::DateTimeParser::new().parse_timestamp(date).ok()
    }

    /// Returns the response if its status is a success, or the error.
    pub(super) fn accepted(self) -> Result<Self, RegistryClientError> {
        let status = self.status();
        let Some(problem) = self.problem else { return Ok(self) };
        Err(problem.into_error(status, self.url))
    }

    /// Returns why an instance is out of reach, if it is.
    pub(super) fn out_of_reach(&self) -> Option<String> {
        let problem = self.problem.as_ref().filter(|problem| problem.r#type == OUT_OF_REACH)?;
        Some(problem.text(self.status()))
    }

    /// Reads the body as JSON.
    pub(super) async fn json<T: DeserializeOwned>(mut self) -> Result<T, RegistryClientError> {
        let body = self.body(MAX_BODY).await?;
        serde_json::from_slice(&body)
            .map_err(|error| RegistryClientError::bad_answer(&self.url, error.to_string()))
    }

    /// Returns the body as a stream of events, without a deadline.
    pub(super) fn into_event_stream(self) -> Result<Response, RegistryClientError> {
        let content_type = self.response.headers().get(CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or("nothing");
        if content_type.starts_with("text/event-stream") {
            return Ok(self.response);
        }
        let reason = format!("a stream answers {content_type:?}, not text/event-stream");
        Err(RegistryClientError::bad_answer(&self.url, reason))
    }

    async fn body(&mut self, limit: usize) -> Result<Vec<u8>, RegistryClientError> {
        let started = Instant::now();
        let mut body = Vec::new();
        loop {
            let chunk = timeout_at(self.deadline, self.response.chunk()).await;
            let chunk = chunk
                .map_err(|_| too_late(&self.url, self.deadline.duration_since(started)))?
                .map_err(|error| RegistryClientError::in_transit(&self.url, &error))?;
            let Some(chunk) = chunk else { return Ok(body) };
            if body.len() + chunk.len() > limit {
                let reason = format!("the body has more than {limit} bytes");
                return Err(RegistryClientError::bad_answer(&self.url, reason));
            }
            body.extend_from_slice(&chunk);
        }
    }
}

// === impl Problem ===

impl Problem {
    /// Returns the error of a response with this status, which is none of a success.
    pub(super) fn into_error(self, status: StatusCode, url: String) -> RegistryClientError {
        let detail = self.text(status);
        if status == StatusCode::CONFLICT {
            return self.conflict(url, &detail);
        }
        match status {
            StatusCode::PRECONDITION_FAILED => {
                let (detail, remedy) = self.take_apart(&detail);
                let remedy = remedy.unwrap_or_default();
                RegistryClientError::VersionConflict { url, detail, remedy }
            }
            _ if NO_SETTINGS.contains(&self.r#type.as_str()) => {
                let (detail, remedy) = self.take_apart(&detail);
                let remedy = remedy.unwrap_or_default();
                RegistryClientError::NoSettings { url, detail, remedy }
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let (detail, remedy) = self.take_apart(&detail);
                let remedy = remedy.unwrap_or_else(|| TOKEN_REMEDY.to_owned());
                RegistryClientError::NotPermitted { url, status: status.as_u16(), detail, remedy }
            }
            // A registry has every path that this client requests.
            StatusCode::NOT_FOUND => {
                RegistryClientError::bad_answer(&url, "it answers 404 Not Found")
            }
            _ if status.is_client_error() || status.is_server_error() => {
                RegistryClientError::Refused { url, status: status.as_u16(), detail }
            }
            _ => RegistryClientError::bad_answer(&url, format!("it answers {status}")),
        }
    }

    fn text(&self, status: StatusCode) -> String {
        let text = [self.detail.as_str(), self.title.as_str()]
            .into_iter()
            .find(|text| !text.is_empty())
            .unwrap_or_else(|| status.canonical_reason().unwrap_or("it gives no reason"));
        bounded(text)
    }

    fn conflict(&self, url: String, detail: &str) -> RegistryClientError {
        let (detail, remedy) = self.take_apart(detail);
        let remedy = remedy.unwrap_or_else(|| "end this service, or choose another id".to_owned());
        RegistryClientError::Conflict { url, detail, remedy }
    }

    /// The detail ends with the remedy, which is separate here. It is shown as text of the registry: an untrusted server
    /// could otherwise give instructions in the name of Portolan.
    fn take_apart(&self, detail: &str) -> (String, Option<String>) {
        let remedy = Some(bounded(&self.remedy)).filter(|remedy| !remedy.is_empty());
        let detail = detail.strip_suffix(remedy.as_deref().unwrap_or_default()).unwrap_or(detail);
        let detail = detail.trim_end_matches("; ").to_owned();
        (detail, remedy.map(|remedy| format!("the registry says: {remedy}")))
    }
}

fn bounded(text: &str) -> String {
    let shown = |c: &char| !is_deceptive(*c);
    text.chars().filter(shown).take(MAX_DETAIL).collect()
}

fn too_late(url: &str, waited: std::time::Duration) -> RegistryClientError {
    let waited = format_duration(std::time::Duration::from_millis(waited.as_millis() as u64));
    RegistryClientError::unreachable(url, format!("no answer within {waited}"))
}
