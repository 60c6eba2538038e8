//! How a program gets its port.
//!
//! | hand-over | the program gets | safe from |
//! | --- | --- | --- |
//! | `socket` | the socket itself, which listens already | everybody |
//! | `guard` | the number, while a guard holds the port | every Portolan process, and strangers without `SO_REUSEADDR` |
//! | `number` | the number; the guard is let go as it starts | every Portolan process; a stranger who was faster is noticed |
//! | `claim` | the number, for somebody else to listen on | the same |
//!
//! An inherited socket is descriptor 3 and those after it, as sd_listen_fds(3) has it. A guard is a
//! socket that is bound with `SO_REUSEADDR` and never listens: a program that sets the same option
//! (socket(7)) binds beside it, one that does not is refused its own port. The reservation stays for
//! all four.

mod programs;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use portolan_port_allocator::Depth;
use serde::{Deserialize, Serialize};

use crate::CommandLine;
use crate::placeholders::mentions_socket;
pub(crate) use programs::{Adoption, Helpers};

/// How a program is to get its port, as the user says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Handoff {
    /// As the program is known to take it, and by its number where it is not known. A command or an
    /// environment with `{fd}` in it takes the socket.
    #[default]
    Auto,
    /// It inherits the socket, which listens already.
    Socket,
    /// It binds the number while a guard is held; without `SO_REUSEADDR` it fails.
    Guard,
    /// It binds the number once the guard is let go; where a stranger was faster, it is started
    /// again on the next port.
    Number,
    /// Somebody else binds the number on its behalf, as docker-proxy does for `docker run`.
    Claim,
}

/// How a certain program gets its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Socket,
    Guard,
    Number,
    Claim,
}

/// A text that is none of the hand-overs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a hand-over; use auto, socket, guard, number or claim")]
pub struct InvalidHandoff(String);

// === impl Handoff ===

impl Handoff {
    const ALL: [Self; 5] = [Self::Auto, Self::Socket, Self::Guard, Self::Number, Self::Claim];

    /// The hand-over as it is written in flags and files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Socket => "socket",
            Self::Guard => "guard",
            Self::Number => "number",
            Self::Claim => "claim",
        }
    }

    /// How this program, with these variables, gets its port.
    pub(crate) fn way_for(
        self,
        command: &CommandLine,
        environment: &BTreeMap<String, String>,
    ) -> Way {
        match self {
            Self::Auto if mentions_socket(command, environment) => Way::Socket,
            Self::Auto => programs::way_of(command),
            Self::Socket => Way::Socket,
            Self::Guard => Way::Guard,
            Self::Number => Way::Number,
            Self::Claim => Way::Claim,
        }
    }
}

impl fmt::Display for Handoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Handoff {
    type Err = InvalidHandoff;

    fn from_str(text: &str) -> Result<Self, InvalidHandoff> {
        let named = Self::ALL.into_iter().find(|handoff| handoff.as_str() == text);
        named.ok_or_else(|| InvalidHandoff(text.chars().take(40).collect()))
    }
}

// === impl Way ===

impl Way {
    /// How deep the port is held for it until the program starts.
    pub(crate) fn depth(self) -> Depth {
        match self {
            Self::Socket => Depth::Bound,
            Self::Guard | Self::Number => Depth::Guarded,
            Self::Claim => Depth::Claimed,
        }
    }

    /// Whether a stranger may take the port between the lease and the program's own bind.
    pub(crate) fn may_lose_port(self) -> bool {
        matches!(self, Self::Number | Self::Claim)
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Socket => Handoff::Socket.as_str(),
            Self::Guard => Handoff::Guard.as_str(),
            Self::Number => Handoff::Number.as_str(),
            Self::Claim => Handoff::Claim.as_str(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(handoff: Handoff, command: &str) -> Way {
        handoff.way_for(&command.parse().unwrap(), &BTreeMap::new())
    }

    #[test]
    fn the_user_has_the_last_word() {
        assert_eq!(way(Handoff::Guard, "my-server"), Way::Guard);
        assert_eq!(way(Handoff::Number, "redis-server"), Way::Number);
        assert_eq!(way(Handoff::Claim, "my-server"), Way::Claim);
        assert_eq!(way(Handoff::Number, "my-server --fd {fd}"), Way::Number);
    }

    #[test]
    fn who_asks_for_the_descriptor_gets_the_socket() {
        assert_eq!(way(Handoff::Auto, "my-server --listen fd://{fd}"), Way::Socket);
        assert_eq!(way(Handoff::Auto, "my-server {fd:metrics}"), Way::Socket);
        let environment = BTreeMap::from([("SOCKET".to_owned(), "{fd}".to_owned())]);
        let command = "my-server".parse().unwrap();
        assert_eq!(Handoff::Auto.way_for(&command, &environment), Way::Socket);
    }

    #[test]
    fn a_hand_over_is_read_as_it_is_written() {
        for handoff in Handoff::ALL {
            assert_eq!(handoff.to_string().parse(), Ok(handoff));
        }
        let error = "hold".parse::<Handoff>().unwrap_err().to_string();
        assert_eq!(error, "\"hold\" is not a hand-over; use auto, socket, guard, number or claim");
    }
}
