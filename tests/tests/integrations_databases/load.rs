//! A constant load of queries, and what became of each.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use parking_lot::Mutex;
use portolan_tests::wait_for;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How many tasks send queries.
const TASKS: usize = 4;
/// The pause of each between two queries.
const PAUSE: Duration = Duration::from_millis(2);

/// Tasks that send queries until they are stopped.
pub(super) struct Load {
    name: &'static str,
    stop: Arc<AtomicBool>,
    attempts: Arc<Mutex<Vec<Attempt>>>,
    tasks: Vec<JoinHandle<()>>,
}

/// One query.
pub(super) struct Attempt {
    number: i64,
    issued: Instant,
    took: Duration,
    error: Option<String>,
}

/// All queries of a load.
pub(super) struct Outcome {
    name: &'static str,
    attempts: Vec<Attempt>,
}

// === impl Load ===

impl Load {
    /// Sends queries, each with a number of its own.
    pub(super) fn start<Q, R>(runtime: &Runtime, name: &'static str, query: Q) -> Self
    where
        Q: Fn(i64) -> R + Clone + Send + 'static,
        R: Future<Output = Result<()>> + Send,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let attempts: Arc<Mutex<Vec<Attempt>>> = Arc::default();
        let next = Arc::new(AtomicI64::new(0));
        let task = || {
            let (stop, attempts, next) = (Arc::clone(&stop), Arc::clone(&attempts), next.clone());
            let query = query.clone();
            runtime.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let issued = Instant::now();
                    let error = query(number).await.err().map(|error| format!("{error:#}"));
                    let attempt = Attempt { number, issued, took: issued.elapsed(), error };
                    attempts.lock().push(attempt);
                    tokio::time::sleep(PAUSE).await;
                }
            })
        };
        let tasks = (0..TASKS).map(|_| task()).collect();
        Self { name, stop, attempts, tasks }
    }

    /// Waits until so many queries have succeeded that were issued from now on.
    pub(super) fn wait_for_successes(&self, count: usize) -> Result<()> {
        let since = Instant::now();
        wait_for(&format!("queries of {} to succeed", self.name), || {
            let attempts = self.attempts.lock();
            let later = attempts.iter().filter(|one| one.issued >= since);
            let (good, bad): (Vec<_>, Vec<_>) = later.partition(|one| one.error.is_none());
            let error = bad.last().and_then(|one| one.error.as_deref());
            ensure!(good.len() >= count, "{} have, the last error is {error:?}", good.len());
            Ok(())
        })
    }

    /// Ends the load.
    pub(super) fn finish(self, runtime: &Runtime) -> Result<Outcome> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            runtime.block_on(task)?;
        }
        let attempts = std::mem::take(&mut *self.attempts.lock());
        Ok(Outcome { name: self.name, attempts })
    }
}

// === impl Outcome ===

impl Outcome {
    /// The numbers of the queries that succeeded.
    pub(super) fn succeeded(&self) -> Vec<i64> {
        let good = self.attempts.iter().filter(|one| one.error.is_none());
        good.map(|one| one.number).collect()
    }

    /// Those of them that were issued after this time.
    pub(super) fn succeeded_since(&self, since: Instant) -> Vec<i64> {
        let good = self.attempts.iter().filter(|one| one.error.is_none() && one.issued > since);
        good.map(|one| one.number).collect()
    }

    /// Checks that the numbers of all queries that succeeded are stored.
    pub(super) fn check_stored(&self, stored: &HashSet<i64>) -> Result<()> {
        let lost = self.succeeded().into_iter().filter(|number| !stored.contains(number));
        ensure!(lost.count() == 0, "an acknowledged write is lost");
        Ok(())
    }

    /// Checks that every query that was issued outside of these periods succeeded, and prints figures.
    #[expect(clippy::print_stdout, reason = "the figures of the test")]
    pub(super) fn check(&self, failures_may_be_in: &[(Instant, Instant)]) -> Result<()> {
        let failed: Vec<_> = self.attempts.iter().filter(|one| one.error.is_some()).collect();
        let longest = self.attempts.iter().map(|one| one.took).max().unwrap_or_default();
        let (name, count) = (self.name, self.attempts.len());
        println!("{name}: {count} queries, {} failed, the longest took {longest:?}", failed.len());
        for failure in failed {
            let within = |(from, to): &(Instant, Instant)| {
                // A query is under way at the beginning of the period if it was issued before it.
                failure.issued + failure.took >= *from && failure.issued <= *to
            };
            ensure!(
                failures_may_be_in.iter().any(within),
                "{name}: query {} failed after {:?}: {:?}",
                failure.number,
                failure.took,
                failure.error
            );
        }
        Ok(())
    }
}
