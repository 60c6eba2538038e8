//! One connection to one server, and whether it has ended.

use std::pin::Pin;
use std::sync::Arc;

use portolan_core::Host;
use redis::aio::{AsyncStream, MultiplexedConnection};
use redis::{AsyncConnectionConfig, RedisError};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use crate::RedisSettings;

/// A connection. Its task is known, so that a command is not given to a connection that has ended: the crate `redis` would
/// return an error that does not tell whether the server got it.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) connection: MultiplexedConnection,
    ended: CancellationToken,
    /// Ends the task with the last clone.
    _task: Arc<AbortOnDropHandle<()>>,
}

/// How connections are protected.
#[derive(Debug, Clone, Default)]
pub(crate) enum Transport {
    #[default]
    Plain,
    #[cfg(feature = "tls")]
    Tls(Arc<portolan_tls::ServiceTls>),
}

type Stream = Pin<Box<dyn AsyncStream + Send + Sync>>;

// === impl Link ===

impl Link {
    pub(crate) async fn open(
        host: &Host,
        port: u16,
        settings: &RedisSettings,
    ) -> Result<Self, RedisError> {
        let stream = TcpStream::connect(host.with_port(port)).await?;
        stream.set_nodelay(true)?;
        let stream = settings.transport.protect(stream).await?;
        let config = AsyncConnectionConfig::new().set_response_timeout(settings.response_timeout);
        let (connection, driver) =
            MultiplexedConnection::new_with_config(&settings.session, stream, config).await?;
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

// === impl Transport ===

impl Transport {
    async fn protect(&self, stream: TcpStream) -> Result<Stream, RedisError> {
        match self {
            Self::Plain => Ok(Box::pin(stream)),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => match tls.connect(stream).await {
                Ok(stream) => Ok(Box::pin(stream)),
                // Not an error of the connection: the server was reached, and is not the one that is expected.
                Err(error) => {
                    let failure = format!("TLS to {}: {error}", tls.name());
                    Err((redis::ErrorKind::AuthenticationFailed, "no trusted server", failure)
                        .into())
                }
            },
        }
    }
}
