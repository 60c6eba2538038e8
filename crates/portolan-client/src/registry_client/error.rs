//! Errors of the registry client, by what resolves them.

use std::borrow::Cow;
use std::error::Error;

use portolan_core::{Remedy, ServiceId, escaped_line, quoted};

/// Why a request to the registry failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryClientError {
    /// The URL is not that of a registry. Retrying does not help.
    #[error("invalid registry URL {url}: {reason}; expected http://HOST:PORT or https://HOST:PORT")]
    InvalidUrl {
        /// The URL as given, quoted, without a user name or password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificates of the client cannot be used. Retrying does not help.
    #[error("discovery.tls: {problem}")]
    InvalidTls {
        /// What is wrong.
        problem: String,
        /// What resolves it.
        remedy: Option<String>,
    },
    /// The file of the token cannot be used. Retrying helps once it can be read.
    #[error("discovery.token_file: {problem}")]
    InvalidTokenFile {
        /// What is wrong.
        problem: String,
        /// What resolves it.
        remedy: String,
    },
    /// The token contains a character that a header cannot carry. Retrying does not help.
    #[error("the registry token contains a control character")]
    InvalidToken,
    /// No response, or not in time. Retrying helps once the registry is back.
    #[error("cannot reach the registry at {url}: {reason}")]
    Unreachable {
        /// The registry's URL.
        url: String,
        /// What happened instead.
        reason: String,
    },
    /// The token is missing or lacks the permission. Retrying does not help.
    #[error("the registry at {url} does not permit this ({status}): {detail}")]
    NotPermitted {
        /// The registry's URL.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The registry's reason.
        detail: String,
        /// What resolves it.
        remedy: String,
    },
    /// Another user of this host listens on the registry's port, and would get the token. The request was not sent. Retrying
    /// does not help.
    #[error("the port of the registry at {url} belongs to user {user}, so the token is not sent")]
    ForeignListener {
        /// The registry's URL.
        url: String,
        /// The user.
        user: String,
    },
    /// The registry rejected the request. Retrying helps only if [`Self::is_temporary`].
    #[error("the registry at {url} refused ({status}): {detail}")]
    Refused {
        /// The registry's URL.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The registry's reason and remedy.
        detail: String,
    },
    /// Another registrant owns the instance: another run of the service, or another host. The request has had no
    /// effect. Retrying does not help: the registrant was replaced, or must choose another id.
    #[error(
        "the registry at {url} refused, because another registrant owns the instance: {detail}"
    )]
    Conflict {
        /// The registry's URL.
        url: String,
        /// The registry's reason, which names both owners.
        detail: String,
        /// What resolves it. What comes from the registry begins with `the registry says: `.
        remedy: String,
    },
    /// The service has no settings, or not this version of them. Retrying does not help.
    #[error("the registry at {url} refused: {detail}")]
    NoSettings {
        /// The registry's URL.
        url: String,
        /// The registry's reason.
        detail: String,
        /// What resolves it. What comes from the registry begins with `the registry says: `.
        remedy: String,
    },
    /// The settings have another version than the expected one, so that they were not changed. Read them again.
    #[error("the registry at {url} refused: {detail}")]
    VersionConflict {
        /// The registry's URL.
        url: String,
        /// The registry's reason, which names both versions.
        detail: String,
        /// What resolves it. What comes from the registry begins with `the registry says: `.
        remedy: String,
    },
    /// The instance listens on loopback of another host.
    #[error("{id} cannot be reached from this host: {detail}")]
    OutOfReach {
        /// The id of the request.
        id: ServiceId,
        /// The registry's reason and remedy.
        detail: String,
    },
    /// No instance of this id is registered.
    #[error("the registry knows no instance {id}")]
    UnknownService {
        /// The id of the request.
        id: ServiceId,
    },
    /// The response is not one of a registry. Retrying does not help: another program listens there.
    #[error("the server at {url} does not speak as a registry: {reason}")]
    BadAnswer {
        /// The registry's URL.
        url: String,
        /// What is wrong with the response.
        reason: String,
    },
}

// === impl RegistryClientError ===

impl RegistryClientError {
    /// Returns whether the same request may succeed later.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => (*status >= 500 && *status != 501) || *status == 429,
            _ => false,
        }
    }

    pub(crate) fn invalid_url(url: &str, reason: impl Into<String>) -> Self {
        let hide = |at: usize| format!("…{}", &url[at..]);
        let url = url.rfind('@').map_or_else(|| url.to_owned(), hide);
        Self::InvalidUrl { url: quoted(&url), reason: reason.into() }
    }

    pub(crate) fn unreachable(url: &str, reason: impl Into<String>) -> Self {
        Self::Unreachable { url: url.to_owned(), reason: one_line(reason) }
    }

    pub(crate) fn bad_answer(url: &str, reason: impl Into<String>) -> Self {
        Self::BadAnswer { url: url.to_owned(), reason: one_line(reason) }
    }

    /// The error if none of the servers responds: the only one, or all of them.
    pub(super) fn all_unreachable(failures: Vec<Self>) -> Self {
        let mut parts: Vec<_> = failures
            .into_iter()
            .filter_map(|failure| match failure {
                Self::Unreachable { url, reason } => Some((url, reason)),
                _ => None,
            })
            .collect();
        if parts.len() == 1 {
            let (url, reason) = parts.remove(0);
            return Self::Unreachable { url, reason };
        }
        let urls: Vec<_> = parts.iter().map(|(url, _)| url.as_str()).collect();
        let reasons: Vec<_> =
            parts.iter().map(|(url, reason)| format!("{url}: {reason}")).collect();
        Self::Unreachable { url: urls.join(", "), reason: reasons.join("; ") }
    }

    /// Wraps a transport failure. The innermost cause is the one that a person can resolve.
    pub(crate) fn in_transit(url: &str, error: &reqwest::Error) -> Self {
        Self::unreachable(url, innermost(error))
    }
}

impl Remedy for RegistryClientError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::InvalidToken => Some("check PORTOLAN_TOKEN".into()),
            Self::InvalidTokenFile { remedy, .. } => Some(remedy.clone().into()),
            Self::InvalidTls { remedy, .. } => remedy.clone().map(Into::into),
            Self::Unreachable { reason, .. } if reason.contains("invalid peer certificate") => Some(
                "set discovery.tls.ca to the authority that signs the registry's certificate, and use a host that is in \
                 the certificate"
                    .into(),
            ),
            Self::Unreachable { reason, .. } if reason.contains("fatal alert") => Some(
                "set discovery.tls.certificate and key to a certificate that the registry accepts".into(),
            ),
            // With TLS 1.3 a server refuses a certificate after the handshake, and its alert may come too late (RFC 8446, section 2).
            Self::Unreachable { url, reason }
                if url.contains("https://") && reason.contains("connection was not ready") =>
            {
                Some(
                    "the registry ends the connection at once, see its log; if it requires certificates of clients, set \
                     discovery.tls.certificate and key"
                        .into(),
                )
            }
            Self::Unreachable { .. } => Some("check that `portolan serve` is running there".into()),
            // The request has arrived without a token, also if this client has sent one.
            Self::NotPermitted { status: 401, .. } => Some(
                "set PORTOLAN_TOKEN to a token of the registry; if it is set, check that no proxy on the way removes the \
                 header Authorization"
                    .into(),
            ),
            Self::ForeignListener { user, .. } => Some(
                format!("if the registry runs as that user, set discovery.registry_user to {user}; else end that process")
                    .into(),
            ),
            Self::UnknownService { .. } => Some("register the instance again".into()),
            Self::BadAnswer { .. } => Some("check the registry URL".into()),
            Self::Conflict { remedy, .. }
            | Self::NotPermitted { remedy, .. }
            | Self::NoSettings { remedy, .. }
            | Self::VersionConflict { remedy, .. } => {
                Some(remedy.clone().into()).filter(|remedy: &Cow<'_, str>| !remedy.is_empty())
            }
            Self::InvalidUrl { .. } | Self::Refused { .. } | Self::OutOfReach { .. } => None,
        }
    }
}

/// A reason may quote what the server sent.
fn one_line(reason: impl Into<String>) -> String {
    escaped_line(&reason.into()).into_owned()
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
