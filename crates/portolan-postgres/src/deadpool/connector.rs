//! Connects with tokio-postgres.

use std::error::Error as _;
use std::io;

use portolan_core::Host;
use portolan_database::{ConnectError, Connector, ServerFacts};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Client, Config, Error, SimpleQueryMessage, Socket};
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::facts;

/// Connects with this configuration, in which the server is missing.
#[derive(Debug)]
pub(super) struct PostgresConnector<T> {
    config: Config,
    tls: T,
    tasks: TaskTracker,
}

// === impl PostgresConnector ===

impl<T> PostgresConnector<T> {
    pub(super) fn new(config: Config, tls: T, tasks: TaskTracker) -> Self {
        Self { config, tls, tasks }
    }
}

impl<T> Connector for PostgresConnector<T>
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send + Sync,
    T::TlsConnect: Send + Sync,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    type Connection = Client;

    async fn connect(&self, host: &Host, port: u16) -> Result<Client, ConnectError> {
        let mut config = self.config.clone();
        config.host(host.to_string()).port(port);
        let (client, connection) =
            config.connect(self.tls.clone()).await.map_err(|error| reason(&error))?;
        // It ends when the client is dropped.
        self.tasks.spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "Connection to PostgreSQL ended");
            }
        });
        Ok(client)
    }

    async fn ask(
        &self,
        client: &mut Client,
        with_cluster: bool,
    ) -> Result<ServerFacts, ConnectError> {
        let answer = client
            .simple_query(facts::query(with_cluster))
            .await
            .map_err(|error| reason(&error))?;
        let row = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let column = |at: usize| row.and_then(|row| row.try_get(at).ok().flatten());
        let cluster = with_cluster.then(|| column(3)).flatten();
        facts::read(column(0), column(1), cluster)
            .ok_or_else(|| ConnectError::Refused("its answer is not one of PostgreSQL".to_owned()))
    }
}

/// Whether the server has answered. Its messages have no secrets of the client.
fn reason(error: &Error) -> ConnectError {
    if let Some(db) = error.as_db_error() {
        return ConnectError::Refused(format!("{} (SQLSTATE {})", db.message(), db.code().code()));
    }
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return ConnectError::Unreachable(io.to_string());
        }
        cause = inner.source();
    }
    match error.is_closed() {
        true => ConnectError::Unreachable("the connection was closed".to_owned()),
        false => ConnectError::Refused(error.to_string()),
    }
}
