//! The role that a server must have.

use std::fmt;
use std::str::FromStr;

use portolan_core::{ServiceEndpoint, quoted};

use crate::ServerFacts;

/// The metadata entry with the role of an instance.
const ROLE: &str = "role";

/// Which servers are acceptable, as `target_session_attrs` of libpq.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum TargetRole {
    /// Every server.
    Any,
    /// A server that accepts writes: not a standby, and not read-only.
    #[default]
    Primary,
    /// A server that replicates another one.
    Standby,
    /// A standby; if there is none, any server.
    PreferStandby,
}

/// A text is not a role. Retrying does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is not a role of a server; expected any, primary (read-write), standby (read-only, replica) or prefer-standby \
     (prefer-replica)", quoted(.0)
)]
pub struct InvalidTarget(String);

// === impl TargetRole ===

impl TargetRole {
    /// Whether a connection to the server is acceptable.
    pub(crate) fn accepts(self, server: &ServerFacts) -> bool {
        match self {
            Self::Any | Self::PreferStandby => true,
            Self::Primary => server.is_writable && !server.is_standby,
            Self::Standby => server.is_standby,
        }
    }

    /// Whether no other server is looked for if this one is acceptable.
    pub(crate) fn is_best(self, server: &ServerFacts) -> bool {
        self != Self::PreferStandby || server.is_standby
    }

    /// How probable it is that the instance has the role, by its metadata; lower is better. It proves nothing.
    pub(crate) fn expectation(self, endpoint: &ServiceEndpoint) -> u8 {
        let role = endpoint.metadata.get(ROLE).map(|role| role.to_ascii_lowercase());
        let is_standby = match role.as_deref() {
            Some("primary" | "master" | "leader" | "read-write") => Some(false),
            Some("standby" | "replica" | "slave" | "secondary" | "read-only") => Some(true),
            _ => None,
        };
        match (self, is_standby) {
            (Self::Any, _) => 0,
            (Self::Primary, Some(false)) => 0,
            (Self::Standby | Self::PreferStandby, Some(true)) => 0,
            (_, None) => 1,
            (_, Some(_)) => 2,
        }
    }
}

impl FromStr for TargetRole {
    type Err = InvalidTarget;

    /// Accepts the names of libpq and those of Redis.
    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        Ok(match text {
            "any" => Self::Any,
            "primary" | "read-write" | "master" => Self::Primary,
            "standby" | "read-only" | "replica" => Self::Standby,
            "prefer-standby" | "prefer-replica" => Self::PreferStandby,
            _ => return Err(InvalidTarget(text.to_owned())),
        })
    }
}

impl fmt::Display for TargetRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Any => "any",
            Self::Primary => "primary",
            Self::Standby => "standby",
            Self::PreferStandby => "prefer-standby",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_accept_what_they_say() {
        let server =
            |is_standby, is_writable| ServerFacts { is_standby, is_writable, cluster: None };
        let (primary, standby) = (server(false, true), server(true, false));
        // A replica of Redis may accept writes, which are lost; a primary may be read-only.
        let (lenient, frozen) = (server(true, true), server(false, false));
        for (target, accepted) in [
            (TargetRole::Any, [true, true, true, true]),
            (TargetRole::Primary, [true, false, false, false]),
            (TargetRole::Standby, [false, true, true, false]),
            (TargetRole::PreferStandby, [true, true, true, true]),
        ] {
            let servers = [&primary, &standby, &lenient, &frozen];
            assert_eq!(servers.map(|server| target.accepts(server)), accepted, "{target}");
            assert_eq!(target.to_string().parse(), Ok(target));
        }
        assert!(TargetRole::PreferStandby.is_best(&standby));
        assert!(!TargetRole::PreferStandby.is_best(&primary));
        let error = "writer".parse::<TargetRole>().unwrap_err().to_string();
        assert!(error.contains("\"writer\"") && error.contains("prefer-standby"), "{error}");
    }
}
