//! What a kind of database adds: how to connect, and how to ask a server what it is.

use portolan_core::Host;

/// Connects to servers of one kind of database.
pub trait Connector: Send + Sync + 'static {
    /// An open connection.
    type Connection: Send;

    /// Connects to this server. May be dropped before it ends, at the timeout.
    fn connect(
        &self,
        host: &Host,
        port: u16,
    ) -> impl Future<Output = Result<Self::Connection, ConnectError>> + Send;

    /// Asks the server what it is; `with_cluster` if the identity of its data is needed.
    fn ask(
        &self,
        connection: &mut Self::Connection,
        with_cluster: bool,
    ) -> impl Future<Output = Result<ServerFacts, ConnectError>> + Send;
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// Whether it replicates another server.
    pub is_standby: bool,
    /// Whether it accepts writes.
    pub is_writable: bool,
    /// The identity of its data, which a primary and its standbys share and no other server has; `None` if it was not asked for,
    /// or this kind of database has none.
    pub cluster: Option<String>,
}

/// Why a server cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Nothing answers there, or the connection broke. The registry is told.
    #[error("{0}")]
    Unreachable(String),
    /// The server has answered, and does not accept the session: it starts, or the credentials are not its own.
    #[error("{0}")]
    Refused(String),
}
