//! One connection to one server, and whether it has ended.

use std::sync::Arc;
use std::time::Duration;

use portolan_core::Host;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

/// A connection. Its task is known, so that a command is not given to a connection that has ended: the crate `redis` would
/// return an error that does not tell whether the server got it.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) connection: MultiplexedConnection,
    ended: CancellationToken,
    /// Ends the task with the last clone.
    _task: Arc<AbortOnDropHandle<()>>,
}

// === impl Link ===

impl Link {
    pub(crate) async fn open(
        host: &Host,
        port: u16,
        session: &RedisConnectionInfo,
        response_timeout: Option<Duration>,
    ) -> Result<Self, RedisError> {
        let stream = TcpStream::connect(host.with_port(port)).await?;
        stream.set_nodelay(true)?;
        let config = AsyncConnectionConfig::new().set_response_timeout(response_timeout);
        let (connection, driver) =
            MultiplexedConnection::new_with_config(session, stream, config).await?;
        let ended = CancellationToken::new();
        let guard: DropGuard = ended.clone().drop_guard();
        let task = tokio::spawn(async move {
            driver.await;
            drop(guard);
        });
        Ok(Self { connection, ended, _task: Arc::new(AbortOnDropHandle::new(task)) })
    }

    /// Whether the server, or the network, has ended the connection.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }
}
