//! Authentication: where a request carries its credentials, and which client they identify.

use std::borrow::Cow;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{AUTHORIZATION, HeaderName};
use http::request::Parts;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use url::form_urlencoded;

use crate::dialect::Errors;
use crate::{ConnectionInfo, RequestError};

/// A place in a request where a client may put its token.
///
/// A source reads the head of the request. That includes the [`ConnectionInfo`] in its extensions,
/// and so what a listener knows of the peer: the user of a Unix peer, or a client certificate.
///
/// [`ConnectionInfo`]: crate::ConnectionInfo
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CredentialSource {
    /// `Authorization: Bearer TOKEN` (RFC 6750, section 2.1).
    Bearer,
    /// A header whose value is the token, such as Consul's `X-Consul-Token`.
    Header(HeaderName),
    /// A parameter of the query, such as Consul's `?token=`. Appears in the logs of proxies.
    Query(&'static str),
}

// === impl CredentialSource ===

impl CredentialSource {
    fn find<'a>(&self, request: &'a Parts) -> Option<Cow<'a, str>> {
        let header = |name: &HeaderName| request.headers.get(name)?.to_str().ok();
        let token = match self {
            Self::Bearer => {
                let (scheme, token) = header(&AUTHORIZATION)?.split_once(' ')?;
                scheme.eq_ignore_ascii_case("bearer").then_some(token.into())
            }
            Self::Header(name) => header(name).map(Cow::from),
            Self::Query(name) => form_urlencoded::parse(request.uri.query()?.as_bytes())
                .find_map(|(key, value)| (key == *name).then_some(value)),
        };
        token.filter(|token| !token.trim().is_empty())
    }
}

/// Who makes a request, as far as its credentials say. An extension of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Principal {
    /// Anyone: the server requires no token.
    Unrestricted,
    /// A client with a valid token.
    Authenticated,
    /// A client with a certificate of an authority that the server trusts. The peer has its names.
    Certified,
    /// A client without credentials.
    Anonymous,
    /// A client whose credentials are not valid here.
    Unknown,
}

// === impl Principal ===

impl Principal {
    /// Returns the name in the audit log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unrestricted => "anyone",
            Self::Authenticated => "token",
            Self::Certified => "certificate",
            Self::Anonymous => "anonymous",
            Self::Unknown => "unknown",
        }
    }

    /// Checks that the principal may use routes that require authentication.
    ///
    /// # Errors
    ///
    /// [`RequestError::Unauthorized`] without credentials, [`RequestError::Forbidden`] if they are
    /// not valid.
    pub fn authorize(self) -> Result<(), RequestError> {
        match self {
            Self::Unrestricted | Self::Authenticated | Self::Certified => Ok(()),
            Self::Anonymous => Err(RequestError::Unauthorized),
            Self::Unknown => Err(RequestError::Forbidden),
        }
    }
}

/// Identifies the [`Principal`] of each request.
///
/// Stores and compares SHA-256 digests: all have the same length, so the comparison takes the same
/// time whatever token was sent.
#[derive(Debug, Clone, Default)]
pub struct Authenticator {
    token: Option<[u8; 32]>,
    sources: Vec<CredentialSource>,
}

// === impl Authenticator ===

impl Authenticator {
    /// Creates an authenticator for this token without any source. `None` requires no token; an
    /// empty token matches nothing.
    pub fn new(token: Option<&str>) -> Self {
        Self { token: token.map(digest), sources: Vec::new() }
    }

    /// Adds a source. The first source that finds credentials decides.
    pub fn source(mut self, source: CredentialSource) -> Self {
        self.sources.push(source);
        self
    }

    /// The principal of a request with a token of this digest.
    pub(crate) fn identify(&self, request: &Parts, sent: Option<[u8; 32]>) -> Principal {
        let Some(expected) = &self.token else { return Principal::Unrestricted };
        let connection = request.extensions.get::<ConnectionInfo>();
        // A proxy's certificate says nothing of its clients, so only that of a direct client counts.
        if connection.is_some_and(ConnectionInfo::is_certified) {
            return Principal::Certified;
        }
        match sent {
            None => Principal::Anonymous,
            Some(sent) if sent.ct_eq(expected).into() => Principal::Authenticated,
            Some(_) => Principal::Unknown,
        }
    }

    /// The digest of the token of a request; `None` also if no token is required.
    pub(crate) fn credentials(&self, request: &Parts) -> Option<[u8; 32]> {
        self.token?;
        let token = self.sources.iter().find_map(|source| source.find(request))?;
        Some(digest(token.trim()))
    }

    /// Identifies the principal, unless the client has guessed too often.
    fn authenticate(&self, request: &Parts) -> Result<Principal, RequestError> {
        let connection = ConnectionInfo::from_extensions(&request.extensions);
        let (clients, client) = (connection.state().clients(), connection.client());
        let sent = self.credentials(request);
        if sent.is_some() {
            clients.check_guesses(client)?;
        }
        let principal = self.identify(request, sent);
        if let (Principal::Unknown, Some([a, b, c, d, e, f, g, h, ..])) = (principal, sent) {
            clients.guessed(client, u64::from_be_bytes([a, b, c, d, e, f, g, h]));
        }
        Ok(principal)
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// Attaches the principal to the request.
pub(crate) async fn authenticate(
    State(authenticator): State<Authenticator>,
    request: Request,
    next: Next,
) -> Response {
    let (mut head, body) = request.into_parts();
    let principal = match authenticator.authenticate(&head) {
        Ok(principal) => principal,
        Err(error) => return Errors::from_extensions(&head.extensions).response(&error),
    };
    head.extensions.insert(principal);
    tracing::Span::current().record("principal", principal.name());
    next.run(Request::from_parts(head, body)).await
}

/// Middleware for routes that require authentication: answers 401 or 403 in the dialect's format
/// if the principal is not authorized. Use with [`axum::middleware::from_fn`] as a route layer.
pub async fn authorize(request: Request, next: Next) -> Response {
    let principal = request.extensions().get().copied().unwrap_or(Principal::Anonymous);
    match principal.authorize() {
        Ok(()) => next.run(request).await,
        Err(error) => Errors::from_extensions(request.extensions()).response(&error),
    }
}
