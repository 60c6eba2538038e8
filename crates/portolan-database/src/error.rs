//! Why there is no server.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use portolan_core::duration::format_duration;
use portolan_core::{Remedy, ServiceName};

use crate::TargetRole;

/// No server in the role could be used within the acquire timeout. Retrying helps as soon as there is one.
#[derive(Debug, Clone, thiserror::Error)]
pub struct NoServer {
    pub(crate) name: ServiceName,
    pub(crate) target: TargetRole,
    pub(crate) limit: Duration,
    /// What each instance answered last.
    pub(crate) failures: Vec<(String, UnusableServer)>,
    /// Whether the discovery client is closed.
    pub(crate) is_closed: bool,
}

/// Why an instance, or a connection to it, is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnusableServer {
    /// It cannot be reached.
    #[error("{0}")]
    Unreachable(String),
    /// It has answered, and does not accept the session.
    #[error("{0}")]
    Refused(String),
    /// It has another role.
    #[error("it is {0}")]
    Role(&'static str),
    /// It has other data.
    #[error("{0}")]
    AnotherCluster(String),
    /// It did not answer in time.
    #[error("no answer within {}", format_duration(*.0))]
    TimedOut(Duration),
    /// It is an instance of the service no longer.
    #[error("it is an instance of the service no longer")]
    Gone,
}

impl fmt::Display for NoServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.target {
            TargetRole::Any | TargetRole::PreferStandby => "server",
            TargetRole::Primary => "primary",
            TargetRole::Standby => "standby",
        };
        write!(f, "no {what} of {}", self.name)?;
        if self.is_closed {
            return f.write_str(": the discovery client is closed");
        }
        write!(f, " within {}", format_duration(self.limit))?;
        if self.failures.is_empty() {
            return f.write_str(": the service has no instance");
        }
        for (at, (address, reason)) in self.failures.iter().enumerate() {
            write!(f, "{} {address}: {reason}", if at == 0 { ":" } else { ";" })?;
        }
        Ok(())
    }
}

impl Remedy for NoServer {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        let is_other = |(_, reason): &(String, UnusableServer)| {
            matches!(reason, UnusableServer::AnotherCluster(_))
        };
        Some(match self.failures.iter().any(is_other) {
            true => "deregister the instance whose address belongs to another server; after a change of the data, restart this program".into(),
            false => format!("see what `portolan discover {} --all` shows", self.name).into(),
        })
    }
}
