//! How a program gets its port.
//!
//! | hand-off | the program gets | safe from |
//! | --- | --- | --- |
//! | `socket` | a listening socket, by file descriptor passing | every process |
//! | `guard` | the port number, while a guard socket is bound | Portolan processes, and foreign processes without `SO_REUSEADDR` |
//! | `number` | the port number; the guard is closed at start | Portolan processes; a foreign process that binds first is detected |
//! | `claim` | the port number, for a helper process to listen on | as `number` |
//!
//! Inherited sockets start at file descriptor 3, as in sd_listen_fds(3). A guard is a socket that
//! is bound with `SO_REUSEADDR` and never listens: a program that sets the same option (socket(7))
//! can bind beside it, any other program gets EADDRINUSE. The lease is kept in all four modes.

mod programs;

use std::collections::BTreeMap;
use std::fmt;

use portolan_core::text_enum;
use portolan_port_allocator::Depth;
use serde::{Deserialize, Serialize};

use crate::CommandLine;
use crate::placeholders::mentions_socket;
pub(crate) use programs::{Adoption, Helpers, stop_signal};

/// The configured hand-off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Handoff {
    /// The mode of a known program, otherwise `number`. If the command or the environment contains
    /// `{fd}`, the mode is `socket`.
    #[default]
    Auto,
    /// The program inherits a listening socket.
    Socket,
    /// The program binds the port while a guard is bound. Without `SO_REUSEADDR` it fails.
    Guard,
    /// The program binds the port after the guard is closed. If a foreign process binds first, the
    /// program is restarted on the next port.
    Number,
    /// Another process binds the port on behalf of the program, such as docker-proxy for `docker
    /// run`.
    Claim,
}

/// The resolved hand-off of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HandoffMode {
    Socket,
    Guard,
    Number,
    Claim,
}

/// Text that is not a hand-off. Permanent: the text must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown hand-off {0}, expected auto, socket, guard, number or claim")]
pub struct InvalidHandoff(String);

// === impl Handoff ===

text_enum! {
    Handoff, InvalidHandoff,
    Auto => "auto",
    Socket => "socket",
    Guard => "guard",
    Number => "number",
    Claim => "claim",
}

impl Handoff {
    /// Resolves `auto` for this program with these environment variables.
    pub(crate) fn mode_for(
        self,
        command: &CommandLine,
        environment: &BTreeMap<String, String>,
    ) -> HandoffMode {
        match self {
            Self::Auto if mentions_socket(command, environment) => HandoffMode::Socket,
            Self::Auto => programs::mode_for(command),
            Self::Socket => HandoffMode::Socket,
            Self::Guard => HandoffMode::Guard,
            Self::Number => HandoffMode::Number,
            Self::Claim => HandoffMode::Claim,
        }
    }
}

// === impl HandoffMode ===

impl HandoffMode {
    /// Returns the hold level of the lease until the program starts.
    pub(crate) fn depth(self) -> Depth {
        match self {
            Self::Socket => Depth::Bound,
            Self::Guard | Self::Number => Depth::Guarded,
            Self::Claim => Depth::Claimed,
        }
    }

    /// Returns whether a foreign process can bind the port before the program does.
    pub(crate) fn may_lose_port(self) -> bool {
        matches!(self, Self::Number | Self::Claim)
    }
}

impl fmt::Display for HandoffMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handoff = match self {
            Self::Socket => Handoff::Socket,
            Self::Guard => Handoff::Guard,
            Self::Number => Handoff::Number,
            Self::Claim => Handoff::Claim,
        };
        handoff.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(handoff: Handoff, command: &str) -> HandoffMode {
        handoff.mode_for(&command.parse().unwrap(), &BTreeMap::new())
    }

    #[test]
    fn configured_mode_takes_precedence() {
        assert_eq!(mode(Handoff::Guard, "my-server"), HandoffMode::Guard);
        assert_eq!(mode(Handoff::Number, "redis-server"), HandoffMode::Number);
        assert_eq!(mode(Handoff::Claim, "my-server"), HandoffMode::Claim);
        assert_eq!(mode(Handoff::Number, "my-server --fd {fd}"), HandoffMode::Number);
    }

    #[test]
    fn placeholder_for_a_socket_selects_mode_socket() {
        assert_eq!(mode(Handoff::Auto, "my-server --listen fd://{fd}"), HandoffMode::Socket);
        assert_eq!(mode(Handoff::Auto, "my-server {fd:metrics}"), HandoffMode::Socket);
        let environment = BTreeMap::from([("SOCKET".to_owned(), "{fd}".to_owned())]);
        let command = "my-server".parse().unwrap();
        assert_eq!(Handoff::Auto.mode_for(&command, &environment), HandoffMode::Socket);
    }

    #[test]
    fn handoff_round_trips_through_text() {
        for handoff in Handoff::ALL {
            assert_eq!(handoff.to_string().parse().as_ref(), Ok(handoff));
        }
        let error = "hold".parse::<Handoff>().unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown hand-off \"hold\", expected auto, socket, guard, number or claim"
        );
    }
}
