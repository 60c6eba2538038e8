//! Errors of a Compose configuration. None is resolved by retrying.

use std::borrow::Cow;

use portolan_core::Remedy;
use portolan_core::name::InvalidName;

use super::config::MAX_PORTS;

/// Why the ports of a configuration cannot be leased.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ComposeError {
    /// It cannot be read.
    #[error("the configuration that Compose prints cannot be used: {0}")]
    Unreadable(String),
    /// A service cannot be named.
    #[error("services.{service}: {source}")]
    Name {
        /// The service as the file names it.
        service: String,
        /// What is wrong with it.
        source: InvalidName,
    },
    /// Two services have the same name but for the case of letters.
    #[error("services.{0}: another service has the same name but for the case of its letters")]
    SameName(String),
    /// A port cannot be read.
    #[error("services.{service}.ports: {entry}: {problem}")]
    Port {
        /// The service as the file names it.
        service: String,
        /// The entry, in quotation marks.
        entry: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// More ports than a project may have.
    #[error("the project publishes more than {MAX_PORTS} ports")]
    TooMany,
}

// === impl ComposeError ===

impl Remedy for ComposeError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Unreadable(_) => Some("check it with `docker compose config`".into()),
            Self::Name { .. } | Self::SameName(_) => Some("rename the service".into()),
            Self::Port { .. } => Some("write it as \"8080:80\", \"127.0.0.1:8080:80\" or \"53:53/udp\"".into()),
            Self::TooMany => Some("publish a range of one port of the container, as in \"8000-8999:80\", which Docker assigns".into()),
        }
    }
}
