//! Connection pools for PostgreSQL that find their server by the name of a service, and by its role.
//!
//! The server is asked itself, when a connection is opened and each time before it is reused: whether it accepts writes
//! (`pg_is_in_recovery()`, `transaction_read_only`), and whose data it has (`pg_control_system()`). Portolan says only where to
//! ask. A connection to an instance that has left the service is not reused.

#[cfg(feature = "deadpool")]
mod deadpool;
mod facts;
#[cfg(feature = "sqlx")]
mod sqlx;

pub use portolan_database::{
    ClusterPin, InvalidTarget, NoServer, ServerOptions, TargetRole, UnusableServer,
};

#[cfg(feature = "deadpool")]
pub use self::deadpool::{InvalidConfig, PostgresConnection, PostgresManager};
#[cfg(feature = "sqlx")]
pub use self::sqlx::SqlxPool;
