//! What can go wrong, and what to do about it.

use std::io;

use portolan_core::{InvalidDuration, ServiceId};

/// Why a broadcaster could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BroadcastError {
    /// The configuration turns it off.
    #[error("broadcasting is turned off; set broadcast.enabled to true")]
    Disabled,
    /// A setting that cannot be used. Retrying does not help: it must change.
    #[error("broadcast.{setting}: {value} {problem}")]
    Setting {
        /// The key within the section.
        setting: &'static str,
        /// Its value, unless it is secret.
        value: String,
        /// What is wrong with it, and what would be right.
        problem: &'static str,
    },
    /// The TTL lies out of bounds.
    #[error("broadcast.ttl: {0}")]
    Ttl(#[source] InvalidDuration),
    /// No socket to send from. Retrying may help.
    #[error(
        "cannot open a socket to broadcast from on interface {interface}; check broadcast.interface: {source}"
    )]
    Open {
        /// The interface as configured.
        interface: String,
        /// The system's answer.
        source: io::Error,
    },
}

/// Why an announcement did not leave.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnnounceError {
    /// It does not fit. Retrying does not help: the endpoint must say less.
    #[error(
        "the announcement of {service_id} has {size} bytes and the limit is {limit}; shorten its metadata or raise broadcast.max_datagram"
    )]
    TooLarge {
        /// The instance.
        service_id: ServiceId,
        /// The message's size in bytes.
        size: usize,
        /// `broadcast.max_datagram`.
        limit: usize,
    },
    /// This process holds as many endpoints as it may.
    #[error("{limit} endpoints are held already; drop one, or hold the rest in another process")]
    TooManyPublished {
        /// How many there may be.
        limit: usize,
    },
    /// No interface took it. Retrying may help.
    #[error(
        "cannot send the announcement; check that the network of broadcast.interface is up: {0}"
    )]
    Send(#[source] io::Error),
    /// The broadcaster was stopped.
    #[error("the broadcaster is stopped; open a new one")]
    Stopped,
}

/// Why a query could not be asked; that nobody answered is no error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// It does not fit. Retrying does not help: ask about fewer scopes.
    #[error(
        "the query has {size} bytes and the limit is {limit}; ask about fewer scopes or raise broadcast.max_datagram"
    )]
    TooLarge {
        /// The message's size in bytes.
        size: usize,
        /// `broadcast.max_datagram`.
        limit: usize,
    },
    /// So many queries wait for answers that there is no room for another. Retrying helps, later.
    #[error("{limit} queries wait for answers already; try again when some are answered")]
    TooMany {
        /// How many there may be.
        limit: usize,
    },
    /// No interface took it. Retrying may help.
    #[error("cannot send the query; check that the network of broadcast.interface is up: {0}")]
    Send(#[source] io::Error),
    /// The broadcaster was stopped.
    #[error("the broadcaster is stopped; open a new one")]
    Stopped,
}
