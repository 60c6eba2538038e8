//! Announcements and queries on the broadcast channel: JSON messages over UDP multicast.
//!
//! A [`Broadcaster`] announces instances, answers queries for the instances that this process
//! publishes, sends queries, and delivers received announcements. It does not depend on registries,
//! ports or strategies. Every datagram is validated in one place (`validate.rs`) before it is used.
//!
//! ```
//! # use std::time::Duration;
//! # use portolan_core::{Action, Host, Registration, Ttl};
//! use portolan_broadcast::transport::memory::MemoryNetwork;
//! use portolan_broadcast::{BroadcastConfig, Broadcaster, QueryMode};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Broadcaster::new(config, metrics) does the same over UDP multicast.
//! let (network, config) = (MemoryNetwork::new(1), BroadcastConfig::default());
//! let join = |host: [u8; 4]| {
//!     Broadcaster::with_transport(network.host(host.into()), &config, Default::default())
//! };
//! let (publisher, client) = (join([10, 0, 0, 1])?, join([10, 0, 0, 2])?);
//!
//! let api = Registration::new("api".parse()?, "10.0.0.1".parse::<Host>()?, 8080)
//!     .into_endpoint(Ttl::DEFAULT, jiff::Timestamp::now());
//! publisher.announce(Action::Register, &api).await?;
//! publisher.publish(api)?;
//!
//! let (name, wait) = ("api".parse()?, Duration::from_secs(5));
//! let found = client.query(Some(&name), &[], wait, QueryMode::First).await?;
//! assert_eq!(found[0].address(), "10.0.0.1:8080");
//! # Ok(())
//! # }
//! ```

mod broadcaster;
mod canonical;
mod collector;
mod config;
mod decode;
mod encoder;
mod error;
mod inflight;
pub mod interfaces;
mod keys;
mod link;
mod listener;
mod local;
mod log_limit;
mod network_id;
mod node;
mod peers;
mod query;
mod reach;
mod receive;
mod replay;
mod responder;
mod response_limit;
mod signature;
pub mod transport;
mod validate;

pub use broadcaster::{Broadcaster, QueryMode};
pub use config::{BroadcastConfig, ChannelConfig};
pub use error::{AnnounceError, BroadcastError, QueryError};
pub use keys::{FollowedSecret, KeyFile, KeyProblem, SharedKey, read_secret};
pub use listener::{AnnouncementListener, ReceivedAnnouncement};
pub use network_id::network_id;
pub use peers::PeerEvents;
pub use reach::Reach;
