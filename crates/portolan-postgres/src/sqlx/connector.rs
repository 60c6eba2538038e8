//! Connects with sqlx, and asks a server what it is.

use portolan_core::Host;
use portolan_database::{ConnectError, Connector, ServerFacts};
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{ConnectOptions, Error, PgConnection, Row};

use crate::facts;

/// Connects with these options, in which the server is replaced.
#[derive(Debug)]
pub(super) struct SqlxConnector(PgConnectOptions);

// === impl SqlxConnector ===

impl SqlxConnector {
    pub(super) fn new(session: PgConnectOptions) -> Self {
        Self(session)
    }
}

impl Connector for SqlxConnector {
    type Connection = PgConnection;

    async fn connect(&self, host: &Host, port: u16) -> Result<PgConnection, ConnectError> {
        at(&self.0, host, port).connect().await.map_err(|error| reason(&error))
    }

    async fn ask(
        &self,
        connection: &mut PgConnection,
        with_cluster: bool,
    ) -> Result<ServerFacts, ConnectError> {
        identify(connection, with_cluster)
            .await
            .map(|(facts, _)| facts)
            .map_err(|error| reason(&error))
    }
}

/// The options for a session with this server.
pub(super) fn at(session: &PgConnectOptions, host: &Host, port: u16) -> PgConnectOptions {
    session.clone().host(&host.to_string()).port(port)
}

/// Asks what the server is, and when this run of it began.
pub(super) async fn identify(
    connection: &mut PgConnection,
    with_cluster: bool,
) -> Result<(ServerFacts, String), Error> {
    let row = sqlx::raw_sql(facts::query(with_cluster)).fetch_one(connection).await?;
    let cluster = match with_cluster {
        true => Some(row.try_get::<String, _>(3)?),
        false => None,
    };
    let facts = facts::read(Some(&text(&row, 0)?), Some(&text(&row, 1)?), cluster.as_deref());
    let facts =
        facts.ok_or_else(|| Error::Protocol("its answer is not one of PostgreSQL".to_owned()))?;
    Ok((facts, text(&row, 2)?))
}

fn text(row: &PgRow, column: usize) -> Result<String, Error> {
    row.try_get(column)
}

/// Whether the server has answered.
fn reason(error: &Error) -> ConnectError {
    match error {
        Error::Io(io) => ConnectError::Unreachable(io.to_string()),
        Error::Database(answer) => {
            let code = answer.code().unwrap_or_default();
            ConnectError::Refused(format!("{} (SQLSTATE {code})", answer.message()))
        }
        _ => ConnectError::Refused(error.to_string()),
    }
}
