//! The errors of calls to etcd.

use std::borrow::Cow;
use std::error::Error as _;
use std::time::Duration;

use portolan_core::Remedy;
use tonic::{Code, Status};

/// Why a call to etcd failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EtcdError {
    /// No endpoint is given. Permanent.
    #[error("no endpoint of etcd, expected at least one URL")]
    NoEndpoint,
    /// The URL of an endpoint is invalid. Permanent.
    #[error(
        "{url:?} is not an endpoint of etcd: {problem}, expected a URL such as http://127.0.0.1:2379"
    )]
    InvalidEndpoint {
        /// The URL.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The certificates or keys of the connection are invalid. Permanent.
    #[error("TLS of etcd: {0}")]
    InvalidTls(String),
    /// No connection, or the member cannot reach the others. Whether a call that writes took effect is
    /// unknown. Retry.
    #[error("etcd at {url} is unreachable: {reason}")]
    Unreachable {
        /// The endpoint that was asked last.
        url: String,
        /// Why.
        reason: String,
    },
    /// No answer before the deadline. Whether a call that writes took effect is unknown. Retry.
    #[error("etcd at {url} did not answer within {within:?}")]
    Timeout {
        /// The endpoint that was asked last.
        url: String,
        /// The time that it had.
        within: Duration,
    },
    /// The member is older than this client supports. Permanent.
    #[error("etcd has version {0}, at least 3.4 is needed")]
    TooOld(String),
    /// The history from a revision on is gone. Read the state again.
    #[error("etcd has compacted the requested revision")]
    Compacted,
    /// The answer is larger than this client accepts. Read less at once.
    #[error("the answer of etcd is larger than 16 MiB")]
    TooLarge,
    /// The lease has ended.
    #[error("etcd has no such lease")]
    LeaseGone,
    /// The user or the password is wrong, or the user may not access the keys. Permanent.
    #[error("etcd denied the access: {0}")]
    Denied(String),
    /// The token of the session is not valid any more. Retried internally with a new one.
    #[error("etcd did not accept the token of the session: {0}")]
    InvalidToken(String),
    /// The database of etcd is full, so that it rejects writes.
    #[error("etcd is full: {0}")]
    Full(String),
    /// Any other rejection. Permanent.
    #[error("etcd rejected the request: {0}")]
    Rejected(String),
}

// === impl EtcdError ===

impl EtcdError {
    /// Whether another endpoint, or the same one later, may answer.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Timeout { .. })
    }

    pub(crate) fn from_status(url: &str, status: &Status) -> Self {
        let message = status.message().to_owned();
        match status.code() {
            Code::NotFound if message.contains("lease not found") => Self::LeaseGone,
            Code::OutOfRange if message.contains("compacted") => Self::Compacted,
            // The decoder's own status.
            Code::OutOfRange => Self::TooLarge,
            Code::Unauthenticated => Self::InvalidToken(message),
            // Users or roles were changed since the token was created.
            Code::InvalidArgument if message.contains("auth store is old") => {
                Self::InvalidToken(message)
            }
            Code::ResourceExhausted if message.contains("space exceeded") => Self::Full(message),
            Code::PermissionDenied => Self::Denied(message),
            Code::InvalidArgument if message.contains("auth") || message.contains("user") => {
                Self::Denied(message)
            }
            Code::InvalidArgument | Code::FailedPrecondition | Code::Unimplemented => {
                Self::Rejected(message)
            }
            _ => Self::Unreachable { url: url.to_owned(), reason: reason(status) },
        }
    }
}

impl Remedy for EtcdError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        let remedy = match self {
            Self::NoEndpoint | Self::InvalidEndpoint { .. } => {
                "set service_registry.etcd.endpoints, such as [\"http://127.0.0.1:2379\"]"
            }
            Self::InvalidTls(_) => "correct service_registry.etcd.tls",
            Self::Unreachable { .. } | Self::Timeout { .. } => {
                "check that etcd runs at service_registry.etcd.endpoints, and that https and \
                 service_registry.etcd.tls fit its listener"
            }
            Self::TooOld(_) => "upgrade every member of etcd, or use another storage_backend",
            Self::Denied(_) | Self::InvalidToken(_) => {
                "set service_registry.etcd.username and password_file to a user whose role may read and \
                 write the keys of service_registry.etcd.prefix"
            }
            Self::Full(_) => {
                "compact and defragment etcd, set its --auto-compaction-retention, and disarm the alarm \
                 with `etcdctl alarm disarm`"
            }
            Self::Compacted | Self::TooLarge | Self::LeaseGone | Self::Rejected(_) => return None,
        };
        Some(remedy.into())
    }
}

/// The innermost cause: `Connection refused` says more than `transport error`.
fn reason(status: &Status) -> String {
    let Some(mut cause) = status.source() else { return status.message().to_owned() };
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_texts_and_remedies() {
        let url = || "http://127.0.0.1:2379".to_owned();
        let errors = [
            EtcdError::NoEndpoint,
            EtcdError::InvalidEndpoint { url: "etcd:x".into(), problem: "invalid port".into() },
            EtcdError::InvalidTls("cannot read /etc/portolan/ca.pem: no such file".into()),
            EtcdError::Unreachable { url: url(), reason: "Connection refused".into() },
            EtcdError::Timeout { url: url(), within: Duration::from_secs(1) },
            EtcdError::TooOld("3.3.27".into()),
            EtcdError::from_status(&url(), &Status::out_of_range("compacted")),
            EtcdError::from_status(&url(), &Status::out_of_range("message length too large")),
            EtcdError::from_status(&url(), &Status::not_found("requested lease not found")),
            EtcdError::from_status(&url(), &Status::permission_denied("permission denied")),
            EtcdError::from_status(&url(), &Status::invalid_argument("invalid user ID")),
            EtcdError::from_status(&url(), &Status::unauthenticated("invalid auth token")),
            EtcdError::from_status(&url(), &Status::resource_exhausted("database space exceeded")),
            EtcdError::from_status(&url(), &Status::invalid_argument("duplicate key given")),
            EtcdError::from_status(&url(), &Status::unavailable("etcdserver: no leader")),
        ];
        insta::assert_snapshot!(errors.map(|error| error.with_remedy()).join("\n"));
    }
}
