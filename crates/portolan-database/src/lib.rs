//! Finds the server of a database service: the instances of the service by name, and among them one in the role that is needed.
//!
//! What a registry says about a role may be old, and an address may belong to another server by now. So each server is asked
//! itself when a connection is opened, and again when it is reused; the metadata entry `role` decides only which is asked first.
//! The protocol of a kind of database is a [`Connector`]. `portolan-postgres` and `portolan-redis` are built on this.

mod cluster;
mod connector;
mod error;
mod options;
mod servers;
mod target;

pub use cluster::ClusterPin;
pub use connector::{ConnectError, Connector, ServerFacts};
pub use error::{NoServer, UnusableServer};
pub use options::ServerOptions;
pub use servers::{Connected, DatabaseServers};
pub use target::{InvalidTarget, TargetRole};
