//! The HTTP check: by default 2xx and 3xx pass, 429 (Too Many Requests) is a warning, and everything else is critical.

mod conditions;
mod exchange;

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use portolan_core::{HealthReport, HealthStatus, Host};
use url::Url;

use crate::reach::ConnectError;
use crate::tls::{SERVER_NAME, TlsFailure, TlsUse};
use crate::{Check, CheckInput, CheckKind, Target};
use conditions::Conditions;
use exchange::{Request, RequestError};

pub(super) const KIND: CheckKind = CheckKind {
    name: "http",
    forms: &["http:/path", "http://HOST:PORT/path"],
    url_form: Some("http://HOST:PORT/path"),
    options: &["method", "status", "header", "body", "body_matches"],
    parse: |input| parse(input, None),
};

pub(super) const HTTPS: CheckKind = CheckKind {
    name: "https",
    forms: &["https:/path", "https://HOST:PORT/path"],
    url_form: Some("https://HOST:PORT/path"),
    options: &["method", "status", "header", "body", "body_matches", SERVER_NAME],
    parse: |input| {
        let tls = TlsUse::parse(input.options)?;
        parse(input, Some(tls))
    },
};

/// Sends a request, GET by default. Does not follow redirects: another resource says nothing about this
/// instance.
#[derive(Debug)]
struct Http {
    place: Place,
    conditions: Conditions,
    tls: Option<TlsUse>,
}

/// What is requested.
#[derive(Debug)]
enum Place {
    /// A path on the instance itself.
    Path(String),
    /// A URL.
    Url(Url),
}

fn parse(input: &mut CheckInput<'_>, tls: Option<TlsUse>) -> Result<Arc<dyn Check>, String> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let place = Place::parse(scheme, input.value.unwrap_or("/"))?;
    let conditions = Conditions::parse(input.options)?;
    Ok(Arc::new(Http { place, conditions, tls }))
}

// === impl Http ===

impl Check for Http {
    fn check<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, HealthReport> {
        self.run(target).boxed()
    }

    fn health_url(&self, host: &Host, port: u16) -> Option<String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        Some(self.place.url(scheme, host, port))
    }
}

impl Http {
    async fn run(&self, target: &Target) -> HealthReport {
        let (authority, path) = self.place.on(target);
        let method = &self.conditions.method;
        let tls = self.tls.as_ref();
        let request = Request { method, authority: &authority, path: &path, tls };
        match request.send(target).await {
            Ok(exchange) => {
                self.conditions.judge(exchange, &format!("{method} {path}"), target).await
            }
            Err(error) => {
                let status = match error {
                    RequestError::Connect(ConnectError::OutOfReach)
                    | RequestError::Tls(TlsFailure::Config(_)) => HealthStatus::Unknown,
                    _ => HealthStatus::Critical,
                };
                HealthReport::new(status, format!("{method} {path} at {authority}: {error}"))
            }
        }
    }
}

// === impl Place ===

impl Place {
    /// Parses a path, or what follows the scheme of a URL.
    fn parse(scheme: &str, text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err("the path does not begin with a slash".to_owned());
        }
        let is_absolute = text.starts_with("//");
        let text = match is_absolute {
            true => format!("{scheme}:{text}"),
            false => format!("{scheme}://localhost{text}"),
        };
        let url = Url::parse(&text).map_err(|error| format!("the URL is invalid, {error}"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the URL contains a user name".to_owned());
        }
        if url.fragment().is_some() {
            return Err("what follows the # is not an option such as status=200".to_owned());
        }
        Ok(if is_absolute { Self::Url(url) } else { Self::Path(request_target(&url)) })
    }

    /// Returns the authority and the target of the request.
    fn on(&self, target: &Target) -> (String, String) {
        match self {
            Self::Path(path) => (target.endpoint.address(), path.clone()),
            Self::Url(url) => (authority(url), request_target(url)),
        }
    }

    fn url(&self, scheme: &str, host: &Host, port: u16) -> String {
        match self {
            Self::Path(path) => format!("{scheme}://{}{path}", host.with_port(port)),
            Self::Url(url) => url.to_string(),
        }
    }
}

/// The target of the request line (RFC 9112, section 3.2.1).
fn request_target(url: &Url) -> String {
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}

fn authority(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(80))
}

#[cfg(test)]
mod tests;
#[cfg(test)]
#[cfg(feature = "tls")]
mod tls_tests;
