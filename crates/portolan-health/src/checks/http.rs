//! The HTTP check. The status code decides, as in Consul: 2xx is passing, 429 (Too Many Requests) is
//! a warning, everything else is critical.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use portolan_core::{HealthReport, HealthStatus, Host};
use tokio::net::TcpStream;
use url::Url;

use crate::reach::ConnectError;
use crate::{Check, CheckKind, CheckReach, Target};

pub(super) const KIND: CheckKind = CheckKind {
    name: "http",
    forms: &["http:/path", "http://HOST:PORT/path"],
    url_form: Some("http://HOST:PORT/path"),
    parse,
};

/// Rejects HTTPS with a clear reason.
pub(super) const HTTPS: CheckKind = CheckKind {
    name: "https",
    forms: &[],
    url_form: None,
    parse: |_| Err("TLS is not supported; expected http:// or tcp:HOST:PORT".to_owned()),
};

/// How much of a response body is read for the reason, in bytes.
const MAX_BODY: usize = 1024;
/// The maximum length of the part of the body that is included in the reason, in characters.
const MAX_REASON: usize = 200;

/// Sends a GET request. Does not follow redirects: another resource says nothing about this
/// instance.
#[derive(Debug)]
enum Http {
    /// A path on the instance itself.
    Path(String),
    /// A URL.
    Url(Url),
}

fn parse(value: Option<&str>) -> Result<Arc<dyn Check>, String> {
    let path = value.unwrap_or("/");
    if !path.starts_with('/') {
        return Err("the path does not begin with a slash".to_owned());
    }
    let is_absolute = path.starts_with("//");
    let text = if is_absolute { format!("http:{path}") } else { format!("http://localhost{path}") };
    let url = Url::parse(&text).map_err(|error| format!("the URL is invalid, {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the URL contains a user name".to_owned());
    }
    Ok(Arc::new(if is_absolute { Http::Url(url) } else { Http::Path(request_target(&url)) }))
}

/// The target of the request line (RFC 9112, section 3.2.1).
fn request_target(url: &Url) -> String {
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}

impl Check for Http {
    fn check<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, HealthReport> {
        let (authority, path) = match self {
            Self::Path(path) => (target.endpoint.address(), path.clone()),
            Self::Url(url) => (authority(url), request_target(url)),
        };
        async move {
            match get(&authority, &path, &target.reach).await {
                Ok(response) => report(response, &path, &target.reach).await,
                Err(error @ RequestError::Connect(ConnectError::OutOfReach)) => HealthReport::new(
                    HealthStatus::Unknown,
                    format!("GET {path} at {authority}: {error}"),
                ),
                Err(error) => {
                    let reason = format!("GET {path} at {authority}: {error}");
                    HealthReport::new(HealthStatus::Critical, reason)
                }
            }
        }
        .boxed()
    }

    fn health_url(&self, host: &Host, port: u16) -> Option<String> {
        Some(match self {
            Self::Path(path) => format!("http://{}{path}", host.with_port(port)),
            Self::Url(url) => url.to_string(),
        })
    }
}

fn authority(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(80))
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Request(#[from] http::Error),
}

/// A response, and the connection that must be polled while its body is read.
struct Exchange {
    response: Response<Incoming>,
    connection: http1::Connection<TokioIo<TcpStream>, Empty<Bytes>>,
}

async fn get(authority: &str, path: &str, reach: &CheckReach) -> Result<Exchange, RequestError> {
    let stream = reach.connect(authority).await?;
    let (mut sender, mut connection) =
        http1::Builder::new().max_buf_size(16 * 1024).handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
        .header(header::HOST, authority)
        .header(header::USER_AGENT, concat!("portolan-health/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let mut response = pin!(sender.send_request(request));
    // The connection is polled here and not in a task, so that dropping this future closes it.
    let response = tokio::select! {
        response = &mut response => response?,
        closed = &mut connection => {
            closed?;
            response.await?
        }
    };
    Ok(Exchange { response, connection })
}

async fn report(
    Exchange { response, connection }: Exchange,
    path: &str,
    reach: &CheckReach,
) -> HealthReport {
    let code = response.status();
    let status = match code {
        _ if code.is_success() => HealthStatus::Passing,
        StatusCode::TOO_MANY_REQUESTS => HealthStatus::Warning,
        _ => HealthStatus::Critical,
    };
    let mut reason = format!("GET {path}: {code}");
    // The answer of a server is not shown to clients of the registry, who may not be allowed to ask that server.
    if status != HealthStatus::Passing && !reach.is_restricted() {
        let mut line = pin!(first_line(response.into_body()));
        let line = tokio::select! {
            line = &mut line => line,
            // The data that arrived before the connection closed can still be read.
            _ = connection => line.await,
        };
        if !line.is_empty() {
            reason = format!("{reason}: {line}");
        }
    }
    HealthReport::new(status, reason)
}

/// The first line of the body, without control characters.
async fn first_line(mut body: Incoming) -> String {
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Some(data) = frame.data_ref() {
            bytes.extend_from_slice(&data[..data.len().min(MAX_BODY - bytes.len())]);
        }
        if bytes.len() >= MAX_BODY {
            break;
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().next().unwrap_or_default().trim();
    line.chars().filter(|c| !c.is_control()).take(MAX_REASON).collect()
}

#[cfg(test)]
mod tests;
