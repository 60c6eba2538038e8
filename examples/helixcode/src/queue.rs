//! The queue in Redis: which jobs wait for a worker.

use std::time::Duration;

use anyhow::{Context, Result};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, cmd};

/// The list that holds the ids of waiting jobs.
const KEY: &str = "helixcode:jobs";
/// How long a worker waits for a job before it asks again.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long Redis may take for an answer: longer than it is asked to wait.
const ANSWER: Duration = Duration::from_secs(3);

/// A connection to the queue.
#[derive(Debug)]
pub struct Queue(MultiplexedConnection);

// === impl Queue ===

impl Queue {
    /// Connects to the server at this address.
    ///
    /// # Errors
    /// Nobody answers there in time, or no Redis.
    pub async fn connect(host: &str, port: u16) -> Result<Self> {
        let why = || format!("cannot connect to Redis at {host}:{port}");
        let client = redis::Client::open((host, port)).with_context(why)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(2)))
            .set_response_timeout(Some(ANSWER));
        let connecting = client.get_multiplexed_async_connection_with_config(&config).await;
        Ok(Self(connecting.with_context(why)?))
    }

    /// Puts a job at the end.
    ///
    /// # Errors
    /// Redis does not take it.
    pub async fn push(&mut self, id: i64) -> Result<()> {
        Ok(cmd("LPUSH").arg(KEY).arg(id).query_async(&mut self.0).await?)
    }

    /// Takes the job at the front; none where none comes within a second.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn pop(&mut self) -> Result<Option<i64>> {
        let seconds = PATIENCE.as_secs();
        let popped: Option<(String, i64)> =
            cmd("BRPOP").arg(KEY).arg(seconds).query_async(&mut self.0).await?;
        Ok(popped.map(|(_, id)| id))
    }

    /// Makes sure that Redis answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&mut self) -> Result<()> {
        Ok(cmd("PING").query_async(&mut self.0).await?)
    }
}
