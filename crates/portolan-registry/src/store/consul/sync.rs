//! Keeps the replica current: reads the state, then waits for changes, and reconnects for ever.

use std::time::Duration;

use portolan_consul::KvTransaction;
use portolan_core::{Backoff, Remedy};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{info, warn};

use super::fault::StoreFault;
use super::log::{Floor, Gap, News};
use super::record::{StoredValue, Value};
use super::{NAME, Shared};
use crate::store::remote::FORMAT;

/// The waits between attempts to reach Consul.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(2);
/// How long Consul waits for a change. Each answer shows that Consul is there, so it is short.
const WAIT: Duration = Duration::from_secs(1);
/// How many new changes at once mean that there are many, and the pause after them. The list of changes is long then
/// and mostly known, so it is read again when there is more news.
const MANY: usize = 16;
const PAUSE: Duration = Duration::from_millis(5);
/// How often old changes are deleted.
const CLEAN_UP: Duration = Duration::from_millis(500);

// === impl Shared ===

impl Shared {
    /// Keeps the replica current, for ever.
    pub(super) async fn synchronise(&self) {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LONGEST).jitter(0.2);
        loop {
            let Err(error) = self.follow(&mut backoff).await;
            // The feed logs the loss; a fault that only a person can repair is worth a line of its own.
            if error.is_permanent() {
                warn!(error = %error.with_remedy(), "Store consul cannot be used");
            }
            self.replica.lock().outlets.lose(&error.with_remedy());
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    /// Connects and applies changes, until Consul does not answer.
    async fn follow(&self, backoff: &mut Backoff) -> Result<std::convert::Infallible, StoreFault> {
        let agent = self.client.agent().await?;
        self.check_format().await?;
        info!(node = %agent.node, version = %agent.version, "Connected to Consul");
        *self.agent.lock() = Some(agent);
        if self.replica.lock().position().is_none() {
            self.load().await?;
        }
        // At once, to find out what has changed since.
        let mut index = 0;
        loop {
            let asked = Instant::now();
            let mut is_busy = false;
            let list = self.client.list(&self.keys.feed(), index, WAIT).await?;
            backoff.reset();
            let read = {
                let mut replica = self.replica.lock();
                replica.touch_contact();
                replica.read(&list)
            };
            let news = match read {
                Ok(news) => self.resolve(news).await?,
                Err(Gap) => Err(Gap),
            };
            match news {
                Ok(news) => {
                    let position = news.index;
                    is_busy = news.changes.len() >= MANY;
                    let mut replica = self.replica.lock();
                    replica.apply(news);
                    self.freshness.confirm(asked, replica.outlets.index());
                    drop(replica);
                    self.progress.send_replace(position);
                }
                Err(Gap) => {
                    warn!("Changes in Consul missed, state loaded again");
                    self.load().await?;
                }
            }
            index = self.replica.lock().log_index();
            if is_busy {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Reads the values that are too long to stand in the changes. They must still be there.
    async fn resolve(&self, mut news: News) -> Result<Result<News, Gap>, StoreFault> {
        for change in &mut news.changes {
            let Some(id) = change.refers_to() else { continue };
            let entry = self.client.key(&self.keys.endpoint(id)).await?;
            let entry = entry.filter(|entry| entry.modify_index == change.index);
            let value = entry.and_then(|entry| Value::decode(&entry.value()?).ok());
            let Some(value) = value else { return Ok(Err(Gap)) };
            change.value.stored = Some(StoredValue::Value(Box::new(value)));
        }
        Ok(Ok(news))
    }

    /// Reads the whole state.
    async fn load(&self) -> Result<(), StoreFault> {
        let asked = Instant::now();
        let list = self.client.list(&self.keys.state(), 0, WAIT).await?;
        let mut replica = self.replica.lock();
        replica.touch_contact();
        replica.load(&list);
        self.freshness.confirm(asked, replica.outlets.index());
        self.progress.send_replace(list.index);
        Ok(())
    }

    /// Checks that the prefix holds a registry in the format of this version, or nothing: then it becomes one.
    async fn check_format(&self) -> Result<(), StoreFault> {
        let (key, prefix) = (self.keys.format(), self.keys.prefix());
        loop {
            if let Some(format) = self.client.key(&key).await? {
                let format = format.value().unwrap_or_default();
                return StoreFault::check_prefix(NAME, prefix, Some(&format), None);
            }
            let names = self.client.names(&self.keys.all()).await?;
            let other = names.first().map(String::as_bytes);
            StoreFault::check_prefix(NAME, prefix, None, other)?;
            // The floor makes the list of changes exist.
            let create = KvTransaction::default().write_if(&key, FORMAT.as_bytes(), 0).write_if(
                &self.keys.floor(),
                b"0",
                0,
            );
            self.client.transact(&create).await?;
        }
    }

    /// Deletes old changes, for ever.
    pub(super) async fn clean_up(&self) {
        let mut ticks = interval(CLEAN_UP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut deleted = Floor::default();
        loop {
            ticks.tick().await;
            while let Some((transaction, value)) = self.clean_up_next(deleted) {
                deleted = match self.client.transact(&transaction).await {
                    Ok(Some(written)) => Floor { value, written },
                    // Another server was faster, or Consul was restored.
                    _ => Floor::default(),
                };
                if deleted == Floor::default() {
                    break;
                }
            }
        }
    }

    fn clean_up_next(&self, deleted: Floor) -> Option<(KvTransaction, u64)> {
        self.replica.lock().clean_up(deleted)
    }
}
