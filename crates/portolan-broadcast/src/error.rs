//! The public errors of the broadcast channel.

use std::borrow::Cow;
use std::io;

use portolan_core::{InvalidDuration, Remedy, ServiceId};

use crate::KeyProblem;

const CHECK_NETWORK: &str = "check that the network of broadcast.interface is up";
const RESTART: &str = "create a new broadcaster";

/// Why a broadcaster could not be created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BroadcastError {
    /// The configuration disables broadcasting.
    #[error("broadcasting is disabled: broadcast.enabled is false")]
    Disabled,
    /// A setting is invalid. Retrying does not help.
    #[error("broadcast.{setting}: {value} {problem}")]
    Setting {
        /// The key within the section.
        setting: &'static str,
        /// Its value, unless it is secret.
        value: String,
        /// What is wrong with the value, and what is expected.
        problem: &'static str,
    },
    /// A key cannot be used. Retrying does not help.
    #[error("broadcast.{setting}: {problem}")]
    Key {
        /// The path of the key within the section, such as `keys[0]`.
        setting: String,
        /// What is wrong with it.
        #[source]
        problem: KeyProblem,
    },
    /// The TTL is out of bounds.
    #[error("broadcast.ttl: {0}")]
    Ttl(#[source] InvalidDuration),
    /// The sending socket could not be opened. Retrying may help.
    #[error("cannot open a socket on interface {interface}: {source}")]
    Open {
        /// The interface, as configured.
        interface: String,
        /// The system's error.
        source: io::Error,
    },
    /// The thread that receives could not be started. Retrying may help.
    #[error("cannot start the thread that receives: {0}")]
    Thread(#[source] io::Error),
}

/// Why an announcement was not sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnnounceError {
    /// The message exceeds the datagram size. Retrying does not help.
    #[error("the announcement of {service_id} has {size} bytes, expected at most {limit}")]
    TooLarge {
        /// The instance.
        service_id: ServiceId,
        /// The message's size in bytes.
        size: usize,
        /// `broadcast.max_datagram`.
        limit: usize,
    },
    /// This process already publishes the maximum number of endpoints.
    #[error("this process already publishes {limit} endpoints, which is the maximum")]
    TooManyPublished {
        /// The maximum.
        limit: usize,
    },
    /// Sending failed on every interface. Retrying may help.
    #[error("cannot send the announcement: {0}")]
    Send(#[source] io::Error),
    /// The broadcaster was stopped.
    #[error("the broadcaster is stopped")]
    Stopped,
}

/// Why a query was not sent. A query without a response is not an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The message exceeds the datagram size. Retrying does not help.
    #[error("the query has {size} bytes, expected at most {limit}")]
    TooLarge {
        /// The message's size in bytes.
        size: usize,
        /// `broadcast.max_datagram`.
        limit: usize,
    },
    /// The maximum number of queries is in flight. Retrying later helps.
    #[error("{limit} queries are already in flight, which is the maximum")]
    TooMany {
        /// The maximum.
        limit: usize,
    },
    /// Sending failed on every interface. Retrying may help.
    #[error("cannot send the query: {0}")]
    Send(#[source] io::Error),
    /// The broadcaster was stopped.
    #[error("the broadcaster is stopped")]
    Stopped,
}

// === impl BroadcastError ===

impl Remedy for BroadcastError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        let remedy = match self {
            Self::Disabled => "set broadcast.enabled to true",
            Self::Setting { setting: "announce_interval", .. } => {
                "set it to half of broadcast.ttl, so that one lost announcement has no effect"
            }
            Self::Setting { setting: "channels", problem, .. } if problem.contains("no keys") => {
                "give every channel keys: a forged message on one without would count as much as a signed one"
            }
            Self::Setting { setting: "key" | "key_id", .. } => "correct the setting or remove it",
            Self::Key { problem, .. } => return Some(problem.remedy().into()),
            Self::Setting { .. } | Self::Ttl(_) => return None,
            Self::Open { .. } => "check broadcast.interface",
            Self::Thread(_) => "check the limits of this process: `ulimit -u` and `ulimit -n`",
        };
        Some(remedy.into())
    }
}

// === impl AnnounceError ===

impl Remedy for AnnounceError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        let remedy = match self {
            Self::TooLarge { .. } => "shorten its metadata or raise broadcast.max_datagram",
            Self::TooManyPublished { .. } => "unpublish one or publish from another process",
            Self::Send(_) => CHECK_NETWORK,
            Self::Stopped => RESTART,
        };
        Some(remedy.into())
    }
}

// === impl QueryError ===

impl Remedy for QueryError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        let remedy = match self {
            Self::TooLarge { .. } => "query fewer scopes or raise broadcast.max_datagram",
            Self::TooMany { .. } => "retry when some of them are complete",
            Self::Send(_) => CHECK_NETWORK,
            Self::Stopped => RESTART,
        };
        Some(remedy.into())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn text(error: &impl Remedy) -> String {
        format!("{error}\n  remedy: {}", error.remedy().unwrap_or("none".into()))
    }

    #[test]
    fn texts_and_remedies() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let setting = |setting, value: &str, problem| BroadcastError::Setting {
            setting,
            value: value.to_owned(),
            problem,
        };
        let service_id = "api@10.0.0.1:8080".parse().unwrap();
        let path = || PathBuf::from("/etc/portolan/new.key");
        let contents = |problem| KeyProblem::Contents { path: path(), problem: Box::new(problem) };
        let keys = [
            KeyProblem::Empty,
            KeyProblem::Short { length: 6 },
            KeyProblem::Monotonous { distinct: 3 },
            KeyProblem::Repetitive { period: 9 },
            KeyProblem::Collection('['),
            KeyProblem::Character("a space at one end"),
            KeyProblem::Read { path: path(), source: denied() },
            KeyProblem::NotAFile(path()),
            KeyProblem::Exposed { path: path(), mode: 0o644 },
            KeyProblem::NotAKey { path: path(), limit: 4096 },
            contents(KeyProblem::Empty),
            contents(KeyProblem::Short { length: 6 }),
            KeyProblem::Duplicate("id"),
        ];
        let keys =
            keys.map(|problem| text(&BroadcastError::Key { setting: "keys[0]".into(), problem }));
        let texts = [
            text(&BroadcastError::Disabled),
            text(&setting("announce_interval", "1m", "is not between 0 and broadcast.ttl")),
            text(&setting("key", "the key", "is set beside broadcast.keys, expected one of them")),
            text(&setting("max_heard", "0", "is out of bounds, expected 1 to 1000000")),
            keys.join("\n"),
            text(&BroadcastError::Ttl(InvalidDuration::TtlOutOfBounds(Default::default()))),
            text(&BroadcastError::Open { interface: "eth7".into(), source: denied() }),
            text(&BroadcastError::Thread(io::ErrorKind::WouldBlock.into())),
            text(&AnnounceError::TooLarge { service_id, size: 1500, limit: 1400 }),
            text(&AnnounceError::TooManyPublished { limit: 1024 }),
            text(&AnnounceError::Send(denied())),
            text(&AnnounceError::Stopped),
            text(&QueryError::TooLarge { size: 1500, limit: 1400 }),
            text(&QueryError::TooMany { limit: 4096 }),
            text(&QueryError::Send(denied())),
            text(&QueryError::Stopped),
        ];
        insta::assert_snapshot!(texts.join("\n"));
    }
}
