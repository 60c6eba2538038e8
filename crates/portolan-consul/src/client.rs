//! Requests with a deadline and a bounded answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderMap;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use url::form_urlencoded;

use crate::connector::Connector;
use crate::options::Agent;
use crate::{ConsulError, ConsulOptions};

/// How long a call may take that does not wait for a change.
pub(crate) const CALL: Duration = Duration::from_secs(3);
/// The largest answer, except for lists of keys.
const MAX_ANSWER: usize = 32 * 1024 * 1024;
/// How much of an answer's text is shown in an error.
const SHOWN: usize = 300;
const TOKEN: &str = "x-consul-token";
const INDEX: &str = "x-consul-index";
/// How long a connection is kept that is not used.
const IDLE: Duration = Duration::from_secs(30);
/// How many connections are kept that are not used: an agent accepts 200 from one address.
const IDLE_CONNECTIONS: usize = 32;

/// A client of a Consul agent. Cheap to clone; all clones share the connections.
#[derive(Debug, Clone)]
pub struct ConsulClient {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    agent: Agent,
    token: Option<HeaderValue>,
    http: Client<Connector, Full<Bytes>>,
}

/// A request.
#[derive(Debug)]
pub(crate) struct Call {
    method: Method,
    /// The path below `/v1/`, as it is shown in errors.
    path: String,
    query: String,
    body: Vec<u8>,
    within: Duration,
    limit: usize,
}

/// An answer of Consul to a request that it understood.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    headers: HeaderMap,
    what: String,
    url: String,
}

// === impl ConsulClient ===

impl ConsulClient {
    /// Creates a client, which connects when it is used. Must be called within a runtime.
    ///
    /// # Errors
    ///
    /// If the URL, the token or a certificate is invalid.
    pub fn new(options: &ConsulOptions) -> Result<Self, ConsulError> {
        let http = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .pool_timer(TokioTimer::new())
            .build(options.connector()?);
        let (agent, token) = (options.agent()?, options.token()?);
        Ok(Self { shared: Arc::new(Shared { agent, token, http }) })
    }

    /// Sends a request. A status that tells of a failure is an error, except 404 and 409, which mean something
    /// else for each request.
    pub(crate) async fn send(&self, call: Call) -> Result<Answer, ConsulError> {
        let url = self.shared.agent.url.clone();
        let within = call.within;
        match timeout(within, self.exchange(call)).await {
            Ok(result) => result?.checked(),
            Err(_) => Err(ConsulError::Timeout { url, within }),
        }
    }

    async fn exchange(&self, call: Call) -> Result<Answer, ConsulError> {
        let Shared { agent, token, http } = &*self.shared;
        let Call { method, path, query, body, limit, .. } = call;
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = method;
        *request.uri_mut() = agent.uri(&path, &query);
        if let Some(token) = token {
            request.headers_mut().insert(TOKEN, token.clone());
        }
        let unreachable = |error: &dyn std::error::Error| ConsulError::Unreachable {
            url: agent.url.clone(),
            reason: innermost(error),
        };
        let response = http.request(request).await.map_err(|error| unreachable(&error))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, limit).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                ConsulError::TooLarge { what: path.clone(), limit }
            } else {
                unreachable(&*error)
            }
        })?;
        let (status, headers, body) = (head.status, head.headers, body.to_bytes());
        Ok(Answer { status, body, headers, what: path, url: agent.url.clone() })
    }
}

// === impl Call ===

impl Call {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path.into())
    }

    pub(crate) fn put(path: impl Into<String>) -> Self {
        Self::new(Method::PUT, path.into())
    }

    fn new(method: Method, path: String) -> Self {
        let (query, body) = (String::new(), Vec::new());
        Self { method, path, query, body, within: CALL, limit: MAX_ANSWER }
    }

    /// Adds a parameter of the query.
    pub(crate) fn query(mut self, name: &str, value: &str) -> Self {
        let mut query = form_urlencoded::Serializer::new(self.query);
        query.append_pair(name, value);
        self.query = query.finish();
        self
    }

    /// Waits for a change beyond an index, and as long as that at most; 0 does not wait.
    pub(crate) fn wait(mut self, index: u64, wait: Duration) -> Self {
        if index == 0 {
            return self;
        }
        self.within = CALL + wait + wait / 8;
        self.query("index", &index.to_string()).query("wait", &format!("{}ms", wait.as_millis()))
    }

    pub(crate) fn json(mut self, body: &impl serde::Serialize) -> Self {
        self.body = serde_json::to_vec(body).expect("strings and numbers can be written as JSON");
        self
    }

    pub(crate) fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    pub(crate) fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }
}

// === impl Agent ===

impl Agent {
    fn uri(&self, path: &str, query: &str) -> Uri {
        let mut text = String::from("/v1/");
        for (number, segment) in path.split('/').enumerate() {
            text.extend((number > 0).then_some('/'));
            // The encoding of forms has `+` for a blank, which a path does not.
            let encoded: String = form_urlencoded::byte_serialize(segment.as_bytes()).collect();
            text.push_str(&encoded.replace('+', "%20"));
        }
        if !query.is_empty() {
            text.push('?');
            text.push_str(query);
        }
        let path = PathAndQuery::try_from(text).expect("it is percent-encoded");
        let uri = Uri::builder().scheme(self.scheme).authority(self.authority.clone());
        uri.path_and_query(path).build().expect("its parts are valid")
    }
}

// === impl Answer ===

impl Answer {
    fn checked(self) -> Result<Self, ConsulError> {
        let (url, what) = (self.url.clone(), self.what.clone());
        match self.status {
            StatusCode::OK | StatusCode::NOT_FOUND | StatusCode::CONFLICT => Ok(self),
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
                Err(ConsulError::Denied { what, reason: self.text() })
            }
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                // Consul reports some denials as failures of the call to its leader.
                let reason = self.text();
                if reason.contains("Permission denied") || reason.contains("ACL not found") {
                    return Err(ConsulError::Denied { what, reason });
                }
                Err(ConsulError::Failed { url, reason })
            }
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => {
                Err(ConsulError::Rejected { what, reason: self.text() })
            }
            _ => Err(self.not_consul()),
        }
    }

    /// Returns the index from which the next call waits.
    pub(crate) fn index(&self) -> Result<u64, ConsulError> {
        let index = self.headers.get(INDEX).and_then(|value| value.to_str().ok());
        let index = index.and_then(|index| index.parse().ok());
        index.ok_or_else(|| self.unlike("it has no X-Consul-Index".to_owned()))
    }

    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, ConsulError> {
        if self.status != StatusCode::OK {
            return Err(self.not_consul());
        }
        serde_json::from_slice(&self.body).map_err(|error| self.unlike(error.to_string()))
    }

    /// Returns success without its content.
    pub(crate) fn done(&self) -> Result<(), ConsulError> {
        if self.status == StatusCode::OK { Ok(()) } else { Err(self.not_consul()) }
    }

    pub(crate) fn not_consul(&self) -> ConsulError {
        self.unlike(format!("status {} to {}", self.status.as_u16(), self.what))
    }

    pub(crate) fn too_old(&self, version: String) -> ConsulError {
        ConsulError::TooOld { url: self.url.clone(), version }
    }

    fn unlike(&self, reason: String) -> ConsulError {
        ConsulError::NotConsul { url: self.url.clone(), reason }
    }

    /// Returns the body as one line of bounded length.
    pub(crate) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let line = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
        let line: String = line.take(SHOWN).collect();
        if line.is_empty() { format!("status {}", self.status.as_u16()) } else { line }
    }
}

/// The innermost cause: `Connection refused` says more than `client error`.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
