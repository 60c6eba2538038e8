//! Announcements and queries on the broadcast channel: JSON messages over UDP multicast.
//!
//! A [`Broadcaster`] tells the channel what an instance does, answers queries for the instances
//! that this process holds, asks who has a service, and hands out what it hears. Knows nothing
//! of registries, ports or strategies. Whatever comes in is checked in one place,
//! before anything else sees it.

mod broadcaster;
mod config;
mod error;
mod known;
mod listener;

pub use broadcaster::{Broadcaster, Enough};
pub use config::{BroadcastConfig, SharedKey};
pub use error::{AnnounceError, BroadcastError, QueryError};
pub use known::HeardEvents;
pub use listener::{Heard, Listener};
