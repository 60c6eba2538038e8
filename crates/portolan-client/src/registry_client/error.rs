//! How speaking to the registry can fail, told apart by what helps.

use std::error::Error;

use portolan_core::ServiceId;

/// Why the registry did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryClientError {
    /// The address is not that of a registry. Retrying does not help.
    #[error("{url:?} is no address of a registry: {reason}; write it like http://localhost:7000")]
    InvalidUrl {
        /// The address as given, without what stands in it of a user or password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The token has a character that a header cannot carry. Retrying does not help.
    #[error("the token of the registry has a control character; check PORTOLAN_TOKEN")]
    InvalidToken,
    /// Nobody answered, or not in time. Retrying helps once the registry is back.
    #[error("cannot reach the registry at {url}: {reason}; is `portolan serve` running there?")]
    Unreachable {
        /// The registry's address.
        url: String,
        /// What happened instead.
        reason: String,
    },
    /// The registry wants a token, or another one. Retrying does not help.
    #[error(
        "the registry at {url} does not permit this ({status}): {detail}; set PORTOLAN_TOKEN to its token"
    )]
    NotPermitted {
        /// The registry's address.
        url: String,
        /// The status of its answer.
        status: u16,
        /// What it says of the reason.
        detail: String,
    },
    /// The registry understood and said no. Retrying helps only where [`Self::is_temporary`].
    #[error("the registry at {url} refused ({status}): {detail}")]
    Refused {
        /// The registry's address.
        url: String,
        /// The status of its answer.
        status: u16,
        /// What it says of the reason and the remedy.
        detail: String,
    },
    /// There is no instance of this id: register it.
    #[error("the registry knows no instance {id}; register it again")]
    UnknownService {
        /// The id asked about.
        id: ServiceId,
    },
    /// The answer is not one of a registry. Retrying does not help: something else listens there.
    #[error("what answers at {url} does not speak as a registry: {reason}; check the address")]
    BadAnswer {
        /// The registry's address.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
}

// === impl RegistryClientError ===

impl RegistryClientError {
    /// Whether the same request may well succeed a little later.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => *status >= 500 || *status == 429,
            _ => false,
        }
    }

    pub(crate) fn invalid_url(url: &str, reason: impl Into<String>) -> Self {
        let hide = |at: usize| format!("…{}", &url[at..]);
        let url = url.rfind('@').map_or_else(|| url.to_owned(), hide);
        Self::InvalidUrl { url: url.chars().take(200).collect(), reason: reason.into() }
    }

    pub(crate) fn unreachable(url: &str, reason: impl Into<String>) -> Self {
        Self::Unreachable { url: url.to_owned(), reason: reason.into() }
    }

    pub(crate) fn bad_answer(url: &str, reason: impl Into<String>) -> Self {
        Self::BadAnswer { url: url.to_owned(), reason: reason.into() }
    }

    /// A failure on the way: the innermost cause is what a person can do something about.
    pub(crate) fn in_transit(url: &str, error: &reqwest::Error) -> Self {
        Self::unreachable(url, innermost(error))
    }
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
