//! One connection to PostgreSQL, and the task that drives it.

use anyhow::{Context, Result};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls};

/// A connection that closes when dropped.
#[derive(Debug)]
pub struct Database {
    client: Client,
    carrier: JoinHandle<()>,
}

// === impl Database ===

impl Database {
    /// Connects to the server at this address.
    ///
    /// # Errors
    /// No PostgreSQL responds in time.
    pub async fn connect(host: &str, port: u16) -> Result<Self> {
        let mut config = Config::new();
        config.host(host).port(port).user("postgres").dbname("postgres");
        config.application_name("helixcode").connect_timeout(std::time::Duration::from_secs(2));
        let connecting = config.connect(NoTls).await;
        let (client, connection) =
            connecting.with_context(|| format!("cannot connect to PostgreSQL at {host}:{port}"))?;
        let carrier = tokio::spawn(async {
            if let Err(error) = connection.await {
                tracing::warn!(error = %error, "connection to PostgreSQL lost");
            }
        });
        Ok(Self { client, carrier })
    }

    /// Returns the client for queries.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether the connection is closed.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.carrier.abort();
    }
}
