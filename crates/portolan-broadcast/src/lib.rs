//! Announcements and queries on the broadcast channel: JSON messages over UDP multicast.
//!
//! A [`Broadcaster`] tells the channel what an instance does, answers queries for the instances
//! that this process holds, asks who has a service, and hands out what it hears. Knows nothing
//! of registries, ports or strategies. Whatever comes in is checked in one place,
//! before anything else sees it.

mod broadcaster;
mod canonical;
mod config;
mod error;
mod gather;
mod held;
mod known;
mod listener;
mod outbox;
mod pending;
mod query;
mod receive;
mod replay;
mod replies;
mod signature;
mod station;
pub mod transport;
mod validate;

pub use broadcaster::{Broadcaster, Enough};
pub use config::{BroadcastConfig, SharedKey};
pub use error::{AnnounceError, BroadcastError, QueryError};
pub use known::HeardEvents;
pub use listener::{Heard, Listener};
