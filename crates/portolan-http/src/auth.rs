//! Authentication: where a request carries its credentials, and which client they identify.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderName};
use http::request::Parts;
use jiff::Timestamp;
use portolan_access::digest;
use tokio::sync::watch;
use tracing::Span;
use url::form_urlencoded;

use crate::{AccessControl, Caller, ConnectionInfo, Evidence, Principal, RequestError, Standing};

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

/// Identifies the [`Principal`] of each request, by the access control that is in force at that moment.
#[derive(Debug, Clone)]
pub struct Authenticator {
    pub(crate) access: watch::Receiver<Arc<AccessControl>>,
    on_unknown: Option<Look>,
    sources: Vec<CredentialSource>,
}

/// Looks whether there are new tokens.
#[derive(Clone)]
struct Look(Arc<dyn Fn() + Send + Sync>);

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Look")
    }
}

// === impl Authenticator ===

impl Authenticator {
    /// Creates an authenticator for this token without any source. `None` requires no token; an
    /// empty token matches nothing.
    pub fn new(token: Option<&str>) -> Self {
        let access = token.map_or_else(AccessControl::open, AccessControl::with_token);
        Self::following(watch::Sender::new(Arc::new(access)).subscribe())
    }

    /// Creates an authenticator for access control that may change, without any source.
    pub fn following(access: watch::Receiver<Arc<AccessControl>>) -> Self {
        Self { access, on_unknown: None, sources: Vec::new() }
    }

    /// Sets what is called when the token of a request is unknown, before it is looked at again: its client may have read a
    /// new one before this server has.
    pub fn on_unknown_token(mut self, look: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_unknown = Some(Look(Arc::new(look)));
        self
    }

    /// Adds a source. The first source that finds credentials decides.
    pub fn source(mut self, source: CredentialSource) -> Self {
        self.sources.push(source);
        self
    }

    /// Returns the standing of the client of this request, which the authenticator has identified, for a response that goes
    /// on. `None` if the server requires no credentials.
    pub fn standing(&self, request: &Parts) -> Option<Standing> {
        let evidence = request.extensions.get::<Evidence>()?.clone();
        let principal = request.extensions.get::<Principal>()?.clone();
        Some(Standing::new(self.access.clone(), evidence, principal))
    }

    /// Returns what a request proves about its client.
    pub(crate) fn evidence(
        &self,
        request: &Parts,
        connection: Option<&ConnectionInfo>,
    ) -> Evidence {
        let token = self.sources.iter().find_map(|source| source.find(request));
        // What a proxy proves says nothing of its clients, so only a direct client counts.
        let is_direct = !Caller::is_forwarded(&request.headers);
        Evidence {
            token: token.map(|token| digest(token.trim())),
            certificate: connection.and_then(ConnectionInfo::certificate),
            user: connection.filter(|_| is_direct).and_then(|it| it.peer().user()),
        }
    }

    /// Identifies the principal, unless the client has guessed too often.
    fn authenticate(&self, request: &Parts) -> Result<(Principal, Evidence), RequestError> {
        let access = Arc::clone(&self.access.borrow());
        if access.is_open() {
            return Ok((Principal::Unrestricted, Evidence::default()));
        }
        let connection = ConnectionInfo::from_extensions(&request.extensions);
        let (clients, client) = (connection.state().clients(), connection.client());
        let evidence = self.evidence(request, Some(connection));
        let user = || connection.user();
        if evidence.token.is_some() {
            clients.check_guesses(client, user)?;
        }
        let mut principal = access.identify(&evidence, Timestamp::now());
        if let (Principal::Unknown, Some(Look(look))) = (&principal, &self.on_unknown) {
            look();
            principal = self.access.borrow().identify(&evidence, Timestamp::now());
        }
        if let (Principal::Unknown, Some([a, b, c, d, e, f, g, h, ..])) =
            (&principal, evidence.token)
        {
            clients.guessed(client, user, u64::from_be_bytes([a, b, c, d, e, f, g, h]));
        }
        Ok((principal, evidence))
    }

    /// Attaches the principal to a request.
    pub(crate) fn attach(&self, head: &mut Parts) -> Result<(), RequestError> {
        let (principal, evidence) = self.authenticate(head)?;
        if let Some(grants) = principal.grants() {
            let connection = ConnectionInfo::from_extensions(&head.extensions);
            connection.state().identities().request(grants)?;
            let connection = connection.of_identity(grants);
            head.extensions.insert(connection);
        }
        let span = Span::current();
        span.record("principal", principal.name());
        if let Principal::Identity { credential, .. } = &principal {
            span.record("credential", tracing::field::display(credential));
        }
        if principal != Principal::Unrestricted {
            head.extensions.insert(evidence);
        }
        head.extensions.insert(principal);
        Ok(())
    }
}
