//! The errors of calls to Consul.

use std::borrow::Cow;
use std::time::Duration;

use portolan_core::Remedy;

/// Why a call to Consul failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConsulError {
    /// The URL is invalid. Permanent.
    #[error(
        "{url:?} is not the URL of a Consul agent: {problem}, expected such as http://127.0.0.1:8500"
    )]
    InvalidUrl {
        /// The URL.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The token cannot be sent in a header. Permanent.
    #[error("the token of Consul has a character that no token has")]
    InvalidToken,
    /// The certificates or keys of the connection are invalid. Permanent.
    #[error("TLS of Consul: {0}")]
    InvalidTls(String),
    /// No connection. Whether a call that writes took effect is unknown. Retry.
    #[error("Consul at {url} is unreachable: {reason}")]
    Unreachable {
        /// The agent that was asked.
        url: String,
        /// Why.
        reason: String,
    },
    /// No answer before the deadline. Whether a call that writes took effect is unknown. Retry.
    #[error("Consul at {url} did not answer within {within:?}")]
    Timeout {
        /// The agent that was asked.
        url: String,
        /// The time that it had.
        within: Duration,
    },
    /// The agent reaches no leader, or failed. Whether a call that writes took effect is unknown. Retry.
    #[error("Consul at {url} cannot answer: {reason}")]
    Failed {
        /// The agent that was asked.
        url: String,
        /// What it says.
        reason: String,
    },
    /// The token is wrong, or may not do this. Permanent.
    #[error("Consul denied the access to {what}: {reason}")]
    Denied {
        /// What was requested.
        what: String,
        /// What Consul says.
        reason: String,
    },
    /// Something that is not Consul answered. Permanent.
    #[error("{url} does not answer like Consul: {reason}")]
    NotConsul {
        /// The URL that was asked.
        url: String,
        /// What is unlike Consul.
        reason: String,
    },
    /// The version is older than this client works with. Permanent.
    #[error("Consul at {url} has the version {version}, expected 1.8 or later")]
    TooOld {
        /// The agent that was asked.
        url: String,
        /// Its version.
        version: String,
    },
    /// The answer is larger than this client accepts.
    #[error("the answer of Consul to {what} is larger than {limit} bytes")]
    TooLarge {
        /// What was requested.
        what: String,
        /// The largest answer that is accepted.
        limit: usize,
    },
    /// The session has ended.
    #[error("Consul has no such session")]
    SessionGone,
    /// Any other rejection. Permanent.
    #[error("Consul rejected the request to {what}: {reason}")]
    Rejected {
        /// What was requested.
        what: String,
        /// What Consul says.
        reason: String,
    },
}

// === impl ConsulError ===

impl ConsulError {
    /// Whether the same call may succeed later. Whether it took effect is unknown.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Timeout { .. } | Self::Failed { .. })
    }
}

impl Remedy for ConsulError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        let remedy = match self {
            Self::InvalidUrl { .. } | Self::NotConsul { .. } => {
                "set service_registry.consul.url to the HTTP address of a Consul agent, such as \
                 http://127.0.0.1:8500"
            }
            Self::InvalidTls(_) => "correct service_registry.consul.tls",
            Self::Unreachable { .. } | Self::Timeout { .. } => {
                "check that a Consul agent runs at service_registry.consul.url, and that https and \
                 service_registry.consul.tls fit its listener"
            }
            Self::Failed { .. } => {
                "check with `consul operator raft list-peers` that the servers of Consul have a leader"
            }
            Self::Denied { .. } | Self::InvalidToken => {
                "set service_registry.consul.token_file to the file of a token whose policy is that of docs/consul.md"
            }
            Self::TooOld { .. } => "upgrade Consul, or use the store etcd or memory",
            Self::TooLarge { .. } | Self::SessionGone | Self::Rejected { .. } => return None,
        };
        Some(remedy.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_texts_and_remedies() {
        let url = || "http://127.0.0.1:8500".to_owned();
        let what = || "kv/portolan/".to_owned();
        let errors = [
            ConsulError::InvalidUrl { url: "consul:x".into(), problem: "invalid port".into() },
            ConsulError::InvalidToken,
            ConsulError::InvalidTls("cannot read /etc/portolan/ca.pem: no such file".into()),
            ConsulError::Unreachable { url: url(), reason: "Connection refused".into() },
            ConsulError::Timeout { url: url(), within: Duration::from_secs(1) },
            ConsulError::Failed { url: url(), reason: "No cluster leader".into() },
            ConsulError::Denied { what: what(), reason: "Permission denied".into() },
            ConsulError::NotConsul { url: url(), reason: "status 405".into() },
            ConsulError::TooOld { url: url(), version: "1.7.4".into() },
            ConsulError::TooLarge { what: what(), limit: 1 << 20 },
            ConsulError::SessionGone,
            ConsulError::Rejected { what: what(), reason: "Value exceeds 512 KB limit".into() },
        ];
        insta::assert_snapshot!(errors.map(|error| error.with_remedy()).join("\n"));
    }
}
