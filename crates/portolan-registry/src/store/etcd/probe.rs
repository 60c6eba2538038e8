//! Confirms that the replica is current, although a quiet watch and one that is cut off look the same.
//!
//! A linearizable read, which a majority of the members answers, gives the newest revision. Once the replica has come so far,
//! it has everything that was committed before the question. In a quiet store it has come so far already; and that is
//! the only way to know it there, because newer versions of etcd do not say how far a watch has come that begins after the newest revision
//! (etcd pull request 20229).
//!
//! Else something was committed since, perhaps by other users of etcd, of whose keys the watch delivers nothing. So the member of
//! the watch is asked how far it has come. A member that is cut off from the others, or lags, confirms nothing.
//! Before etcd 3.4.25 and 3.5.8 its answer can overtake events on their way (etcd issue 15220), so a question that is answered by it
//! counts once the one after it is answered too.

use std::future::pending;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use portolan_etcd::{EtcdError, KeyRange, ProgressRequests, RangePage};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::Shared;

/// How often a question is asked. Two of them make the age of a quiet view.
const EVERY: Duration = Duration::from_millis(500);

/// The questions about one watch.
pub(super) struct Probe<'a> {
    shared: &'a Shared,
    progress: ProgressRequests,
    ticks: Interval,
    question: Option<Question<'a>>,
    /// When the last question was asked that is answered.
    answered: Option<Instant>,
}

struct Question<'a> {
    asked: Instant,
    /// The read, until it has answered.
    read: Option<BoxFuture<'a, Result<RangePage, EtcdError>>>,
    /// What the read has answered.
    newest: i64,
}

// === impl Probe ===

impl<'a> Probe<'a> {
    pub(super) fn new(shared: &'a Shared, progress: ProgressRequests) -> Self {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { shared, progress, ticks, question: None, answered: None }
    }

    /// Asks, for ever. Cancel-safe.
    pub(super) async fn ask(&mut self) {
        loop {
            tokio::select! {
                page = read(&mut self.question) => self.was_read(page),
                _ = self.ticks.tick() => match &self.question {
                    // The member lags behind, or its answer is lost.
                    Some(Question { read: None, .. }) => self.progress.request(),
                    Some(_) => {}
                    None => self.begin(),
                },
            }
        }
    }

    fn begin(&mut self) {
        let (shared, asked) = (self.shared, Instant::now());
        // Any key does.
        let key = KeyRange::key(&shared.keys.format());
        let read = async move { shared.client.range(&key, 1, 0).await }.boxed();
        self.question = Some(Question { asked, read: Some(read), newest: 0 });
    }

    fn was_read(&mut self, page: Result<RangePage, EtcdError>) {
        match (page, &mut self.question) {
            (Ok(page), Some(question)) => {
                question.newest = page.revision;
                let position = self.shared.replica.lock().position();
                if !self.applied(position.map_or(0, |position| position.revision)) {
                    self.progress.request();
                }
            }
            // The next question may be answered. If the member of the watch failed, the client has turned to another
            // one, and the watch is opened again.
            _ => self.question = None,
        }
    }

    /// The replica has applied everything up to this revision. Returns whether that answers the question.
    pub(super) fn applied(&mut self, revision: i64) -> bool {
        let Some(asked) = self.take_answered(revision) else { return false };
        self.answered = Some(asked);
        self.confirm(asked);
        true
    }

    /// The member of the watch has come so far.
    pub(super) fn progressed(&mut self, revision: i64) {
        let Some(asked) = self.take_answered(revision) else { return };
        if let Some(before) = self.answered.replace(asked) {
            self.confirm(before);
        }
    }

    /// When the question was asked that this revision answers.
    fn take_answered(&mut self, revision: i64) -> Option<Instant> {
        let is_answered =
            |question: &mut Question<'_>| question.read.is_none() && question.newest <= revision;
        self.question.take_if(is_answered).map(|question| question.asked)
    }

    fn confirm(&self, asked: Instant) {
        let index = self.shared.replica.lock().outlets.index();
        self.shared.freshness.confirm(asked, index);
    }
}

/// Waits for the read of a question. Cancel-safe.
async fn read(question: &mut Option<Question<'_>>) -> Result<RangePage, EtcdError> {
    match question {
        Some(Question { read: Some(read), .. }) => {
            let page = read.await;
            if let Some(question) = question {
                question.read = None;
            }
            page
        }
        _ => pending().await,
    }
}
