//! The queue in Redis: the jobs that wait for a worker.

use std::time::Duration;

use anyhow::{Context, Result};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, cmd};

/// The list that holds the ids of waiting jobs.
const KEY: &str = "helixcode:jobs";
/// How long one request for a job blocks.
const PATIENCE: Duration = Duration::from_secs(1);
/// The response timeout: longer than a blocking request.
const ANSWER: Duration = Duration::from_secs(3);

/// A connection to the queue.
#[derive(Debug)]
pub struct Queue(MultiplexedConnection);

// === impl Queue ===

impl Queue {
    /// Connects to the server at this address.
    ///
    /// # Errors
    /// No Redis responds in time.
    pub async fn connect(host: &str, port: u16) -> Result<Self> {
        let why = || format!("cannot connect to Redis at {host}:{port}");
        let client = redis::Client::open((host, port)).with_context(why)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(2)))
            .set_response_timeout(Some(ANSWER));
        let connecting = client.get_multiplexed_async_connection_with_config(&config).await;
        Ok(Self(connecting.with_context(why)?))
    }

    /// Appends a job.
    ///
    /// # Errors
    /// Redis refuses.
    pub async fn push(&mut self, id: i64) -> Result<()> {
        Ok(cmd("LPUSH").arg(KEY).arg(id).query_async(&mut self.0).await?)
    }

    /// Takes the first job; `None` if none arrives within a second.
    ///
    /// # Errors
    /// Redis does not respond.
    pub async fn pop(&mut self) -> Result<Option<i64>> {
        let seconds = PATIENCE.as_secs();
        let popped: Option<(String, i64)> =
            cmd("BRPOP").arg(KEY).arg(seconds).query_async(&mut self.0).await?;
        Ok(popped.map(|(_, id)| id))
    }

    /// Checks that Redis responds.
    ///
    /// # Errors
    /// Redis does not respond.
    pub async fn ping(&mut self) -> Result<()> {
        Ok(cmd("PING").query_async(&mut self.0).await?)
    }
}
