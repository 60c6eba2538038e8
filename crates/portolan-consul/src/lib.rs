//! A thin client of Consul's HTTP API: the calls that Portolan's store needs.
//!
//! [`ConsulClient`] talks to one agent, as Consul's own clients do; the agent knows the servers. Each call has a
//! deadline, each answer a bound, and no call is repeated: the caller knows which ones may be.
//!
//! Knows nothing of the registry. Works with Consul 1.8 and later.

mod agent;
mod catalog;
mod client;
mod connector;
mod error;
mod kv;
mod options;
mod session;

pub use agent::{ConsulAgent, ConsulCheckStatus, ConsulRegistration};
pub use catalog::{ConsulCheck, ConsulInstance, ConsulNode, ConsulService, ConsulServiceNames};
pub use client::ConsulClient;
pub use error::ConsulError;
pub use kv::{KvEntry, KvKeys, KvList, KvTransaction};
pub use options::{ConsulOptions, ConsulTls};
pub use session::ConsulSession;
