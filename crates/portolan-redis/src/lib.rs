//! A connection to Redis or Valkey that finds its server by the name of a service, and by its role.
//!
//! [`RedisConnection`] is used as any connection of the crate `redis`. The server is asked itself for its role (`ROLE`), when a
//! connection is opened and once a second while it is used; Portolan says only where to ask. A command that a server refuses
//! because it is no primary any more is sent to the next primary.
//!
//! Connections are encrypted with the feature `tls` and `RedisSettings::tls`, which takes the name that the certificates of all
//! servers share.

mod connection;
mod connector;
mod link;
mod settings;

pub use portolan_database::{
    ClusterPin, InvalidTarget, NoServer, ServerOptions, TargetRole, UnusableServer,
};

pub use connection::RedisConnection;
#[cfg(feature = "tls")]
pub use portolan_tls::TlsError;
pub use settings::RedisSettings;
