//! Whether a web server says that it is well. The status code decides, by Consul's rule: 2xx is
//! passing, 429 (too many requests) is a warning, everything else is critical.

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

use super::{Check, Kind, Parsed, Subject};
use crate::InvalidCheck;
use crate::spec::short;

pub(super) const KIND: Kind =
    Kind { name: "http", forms: &["http:/path", "http://HOST:PORT/path"], parse };

/// How much of a body is read for the reason; the rest is left where it is.
const MAX_BODY: usize = 1024;
/// How long the part of the body is that becomes part of the reason.
const MAX_REASON: usize = 200;

/// Asks with GET. Follows no redirect: what is elsewhere says nothing of this instance.
#[derive(Debug)]
enum Http {
    /// A path on the service itself.
    Path(String),
    /// Somewhere else.
    Url(Url),
}

fn parse(rest: Option<&str>) -> Parsed {
    let path = rest.unwrap_or("/");
    let not_a_url = |reason: String| {
        let text = short(&format!("http:{path}"));
        InvalidCheck::NotAUrl { text, reason }
    };
    let absolute = path.starts_with("//");
    if !path.starts_with('/') {
        return Err(not_a_url("it does not begin with a slash".to_owned()));
    }
    let text = if absolute { format!("http:{path}") } else { format!("http://localhost{path}") };
    let url = Url::parse(&text).map_err(|error| not_a_url(error.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(not_a_url("leave out the user name".to_owned()));
    }
    Ok(Arc::new(match absolute {
        true => Http::Url(url),
        false => Http::Path(target(&url)),
    }))
}

/// What stands in the request's first line.
fn target(url: &Url) -> String {
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}

impl Check for Http {
    fn look<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, HealthReport> {
        let (authority, target) = match self {
            Self::Path(path) => (subject.endpoint.address(), path.clone()),
            Self::Url(url) => (authority(url), target(url)),
        };
        async move {
            match get(&authority, &target).await {
                Ok(response) => judge(response, &target).await,
                Err(error) => {
                    let reason = format!("GET {target} at {authority}: {error}");
                    HealthReport::new(HealthStatus::Critical, reason)
                }
            }
        }
        .boxed()
    }

    fn url(&self, host: &Host, port: u16) -> Option<String> {
        Some(match self {
            Self::Path(path) => format!("http://{}{path}", host.with_port(port)),
            Self::Url(url) => url.to_string(),
        })
    }
}

fn authority(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(80))
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("{0}")]
    Connect(#[from] std::io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Request(#[from] http::Error),
}

/// An answer, and the connection that must be driven while its body is read.
struct Answer {
    response: Response<Incoming>,
    connection: http1::Connection<TokioIo<TcpStream>, Empty<Bytes>>,
}

async fn get(authority: &str, target: &str) -> Result<Answer, NoAnswer> {
    let stream = TcpStream::connect(authority).await?;
    let (mut sender, mut connection) =
        http1::Builder::new().max_buf_size(16 * 1024).handshake(TokioIo::new(stream)).await?;
    let request = Request::get(target)
        .header(header::HOST, authority)
        .header(header::USER_AGENT, concat!("portolan-health/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let mut answer = pin!(sender.send_request(request));
    // No task of its own: what is dropped with this future is over.
    let response = tokio::select! {
        response = &mut answer => response?,
        closed = &mut connection => {
            closed?;
            answer.await?
        }
    };
    Ok(Answer { response, connection })
}

async fn judge(Answer { response, connection }: Answer, target: &str) -> HealthReport {
    let code = response.status();
    let status = match code {
        _ if code.is_success() => HealthStatus::Passing,
        StatusCode::TOO_MANY_REQUESTS => HealthStatus::Warning,
        _ => HealthStatus::Critical,
    };
    let mut reason = format!("GET {target}: {code}");
    if status != HealthStatus::Passing {
        let mut words = pin!(first_words(response.into_body()));
        let words = tokio::select! {
            words = &mut words => words,
            // What the connection delivered before it ended is still to be read.
            _ = connection => words.await,
        };
        if !words.is_empty() {
            reason = format!("{reason}: {words}");
        }
    }
    HealthReport::new(status, reason)
}

/// The first line of the body, where it is text.
async fn first_words(mut body: Incoming) -> String {
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
