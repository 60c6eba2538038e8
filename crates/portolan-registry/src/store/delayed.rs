//! A store for tests that behaves like a remote one: `memory` behind slow commits, a feed that
//! stalls, and outages.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::{Feed, FeedLost, Freshness, Memory, Receipt, Store, Update};
use crate::{
    Command, CommandOrigin, InvalidRegistryConfig, Membership, Recorder, RegistryConfig,
    RegistryError,
};

const NAME: &str = "delayed";
/// How often a feed without updates confirms that it is current.
const CONFIRM: Duration = Duration::from_secs(1);

/// Delays commits to a store in memory.
#[derive(Debug)]
pub(crate) struct Delayed {
    memory: Memory,
    commit: Duration,
    commits: AtomicU32,
    outage: watch::Receiver<bool>,
}

/// Delays updates, and withholds them while it is stalled or the store is unreachable.
#[derive(Debug)]
pub(crate) struct DelayedFeed {
    feed: Box<dyn Feed>,
    delay: Duration,
    stalled: watch::Receiver<bool>,
    outage: watch::Receiver<bool>,
    taken: Option<Update>,
    /// The index of the last update.
    index: u64,
    freshness: Freshness,
}

/// Controls a delayed store.
#[derive(Debug)]
pub(crate) struct Faults {
    pub(crate) stall: watch::Sender<bool>,
    pub(crate) outage: watch::Sender<bool>,
}

/// Puts a store in memory behind commits and updates that take so long.
pub(crate) fn delayed(
    memory: Memory,
    commit: Duration,
    delay: Duration,
) -> (Arc<Delayed>, Box<DelayedFeed>, Faults) {
    let faults = Faults { stall: watch::Sender::new(false), outage: watch::Sender::new(false) };
    let feed = Box::new(DelayedFeed {
        feed: memory.feed(),
        delay,
        stalled: faults.stall.subscribe(),
        outage: faults.outage.subscribe(),
        taken: None,
        index: 0,
        freshness: Freshness::unconfirmed(),
    });
    let (commits, outage) = (AtomicU32::new(0), faults.outage.subscribe());
    (Arc::new(Delayed { memory, commit, commits, outage }), feed, faults)
}

impl Store for Delayed {
    fn name(&self) -> &'static str {
        NAME
    }

    fn commit<'a>(
        &'a self,
        commands: &'a [Command],
        origin: &'a CommandOrigin,
    ) -> BoxFuture<'a, Receipt> {
        async move {
            // From half to one and a half of it, so that concurrent commits overtake each other.
            let half = self.commit / 2;
            sleep(half * (1 + self.commits.fetch_add(1, Ordering::Relaxed) % 3)).await;
            if *self.outage.borrow() {
                let reason = "connection refused".to_owned();
                let error = RegistryError::Unavailable { store: NAME, reason };
                return Receipt { outcomes: vec![Err(error); commands.len()], index: 0 };
            }
            self.memory.commit(commands, origin).await
        }
        .boxed()
    }

    fn has_former_state(&self) -> bool {
        false
    }

    fn membership(&self) -> Membership {
        self.memory.membership()
    }

    fn maintain(&self, recorder: Recorder) -> BoxFuture<'_, ()> {
        self.memory.maintain(recorder)
    }

    fn reconfigure(&self, config: &RegistryConfig) -> Result<(), InvalidRegistryConfig> {
        self.memory.reconfigure(config)
    }
}

impl Feed for DelayedFeed {
    fn next(&mut self) -> BoxFuture<'_, Result<Update, FeedLost>> {
        async move {
            let update = match self.taken.take() {
                Some(update) => update,
                None => loop {
                    tokio::select! {
                        update = self.feed.next() => break update?,
                        Ok(_) = self.outage.wait_for(|outage| *outage) => {
                            return Err(FeedLost { store: NAME, reason: "connection reset".into() });
                        }
                        () = sleep(CONFIRM), if !*self.outage.borrow() => {
                            self.freshness.confirm(Instant::now(), self.index);
                        }
                    }
                },
            };
            // Kept aside while it is delayed, so that a dropped call loses nothing.
            self.taken = Some(update);
            sleep(self.delay).await;
            let resumed = self.stalled.wait_for(|stalled| !stalled).await.is_ok();
            if !resumed || *self.outage.borrow() {
                return Err(FeedLost { store: NAME, reason: "connection reset".into() });
            }
            let update = self.taken.take().expect("kept aside above");
            self.index = update.index;
            self.freshness.confirm(Instant::now(), self.index);
            Ok(update)
        }
        .boxed()
    }

    fn freshness(&self) -> Freshness {
        self.freshness.clone()
    }
}
