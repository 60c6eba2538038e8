//! Takes requests from the queue, commits them to the store, several at a time, and lets the view follow the feed in between.
//!
//! All in one task: what a store in this process commits is in the view when the caller is answered, so that nobody waits for it.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, poll};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{Span, warn};

use crate::schedule::{Schedule, Ticket};
use crate::store::{Receipt, Store};
use crate::{Command, CommandOrigin, CommandOutcome, Recorder, RegistryError};

/// How many commits run at the same time: 64 commits of 3 ms are 21,000 a second.
const CONCURRENT_COMMITS: usize = 64;
/// How many requests are taken from the queue and not finished. A request beyond it waits in the
/// queue, and its caller if that is full too.
const SCHEDULED: usize = 1024;
/// How many requests are answered together. Their changes are in the view with one update.
const ANSWERED_TOGETHER: usize = 64;
/// How long a commit may take before it counts as failed.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long before the caller's deadline a commit counts as failed, so that the caller learns why.
const REPLY: Duration = Duration::from_millis(250);
/// How long the commits that were requested before the shutdown may take.
const DRAIN: Duration = Duration::from_millis(400);

/// Commits requests in order for each id.
#[derive(Debug)]
pub(crate) struct Committer {
    store: Arc<dyn Store>,
    queue: mpsc::Receiver<Request>,
    schedule: Schedule<Request>,
    running: FuturesUnordered<BoxFuture<'static, (Ticket, Answer)>>,
    /// What the callers learn once the view has had a chance to show it.
    answers: Vec<Answer>,
    recorder: Recorder,
    /// The greatest index of all receipts.
    index: u64,
}

/// The answer to a request.
#[derive(Debug)]
struct Answer {
    /// `None` if the caller has stopped waiting.
    receipt: Option<Receipt>,
    reply: oneshot::Sender<Receipt>,
}

/// Commands to be committed.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) commands: Vec<Command>,
    pub(crate) origin: CommandOrigin,
    /// The span of the caller, for the audit log.
    pub(crate) span: Span,
    /// When the caller stops waiting. A commit is not begun after it.
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<Receipt>,
}

// === impl Committer ===

impl Committer {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        queue: mpsc::Receiver<Request>,
        recorder: Recorder,
    ) -> Self {
        let (schedule, running) = (Schedule::new(), FuturesUnordered::new());
        Self { store, queue, schedule, running, answers: Vec::new(), recorder, index: 0 }
    }

    /// Commits until the shutdown, or until every handle is dropped, then drains for a bounded time. Meanwhile, lets the view
    /// follow the feed. Returns the index that the view must reach to show everything that was committed.
    pub(crate) async fn run(
        mut self,
        mut feed: Pin<&mut impl Future<Output = Infallible>>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> u64 {
        let mut shutdown = pin!(shutdown);
        let open = async {
            tokio::select! {
                biased;
                () = &mut shutdown => {}
                () = self.commit_all(feed.as_mut()) => {}
            }
        };
        open.await;
        self.queue.close();
        if timeout(DRAIN, self.commit_all(feed)).await.is_err() {
            warn!(unfinished = self.schedule.len(), "Commits cut off by the shutdown");
        }
        self.index
    }

    /// Commits until the queue is closed and everything in it is committed. Cancel-safe.
    async fn commit_all(&mut self, mut feed: Pin<&mut impl Future<Output = Infallible>>) {
        let mut open = true;
        while open || self.schedule.len() > 0 {
            tokio::select! {
                Some((ticket, answer)) = self.running.next() => {
                    self.schedule.finish(ticket);
                    self.answers.push(answer);
                }
                request = self.queue.recv(), if open && self.has_room() => match request {
                    Some(request) => self.begin(request).await,
                    None => open = false,
                },
                never = feed.as_mut() => match never {},
            }
            while self.has_room()
                && let Ok(request) = self.queue.try_recv()
            {
                self.begin(request).await;
            }
            while self.running.len() < CONCURRENT_COMMITS
                && let Some((ticket, request)) = self.schedule.start()
            {
                let commit = self.commit(request);
                self.running.push(Box::pin(async move { (ticket, commit.await) }));
            }
            if let Poll::Ready(never) = poll!(feed.as_mut()) {
                match never {}
            }
            self.answer();
        }
    }

    fn has_room(&self) -> bool {
        self.schedule.len() < SCHEDULED && self.answers.len() < ANSWERED_TOGETHER
    }

    /// Commits a request at once if the store need not wait, and if no other request with one of its ids is unfinished.
    async fn begin(&mut self, request: Request) {
        let ids: Vec<_> = request.commands.iter().map(Command::id).collect();
        if self.running.len() >= CONCURRENT_COMMITS || !self.schedule.is_free(&ids) {
            return self.schedule.push(ids, request);
        }
        let mut commit = Box::pin(self.commit(request));
        match poll!(commit.as_mut()) {
            Poll::Ready(answer) => self.answers.push(answer),
            Poll::Pending => {
                let ticket = self.schedule.lock(ids);
                self.running.push(Box::pin(async move { (ticket, commit.await) }));
            }
        }
    }

    fn commit(&self, request: Request) -> impl Future<Output = Answer> + Send + 'static {
        commit(Arc::clone(&self.store), request, self.recorder.clone())
    }

    fn answer(&mut self) {
        for Answer { receipt, reply } in self.answers.drain(..) {
            let Some(receipt) = receipt else { continue };
            self.index = self.index.max(receipt.index);
            // The caller may have stopped waiting.
            _ = reply.send(receipt);
        }
    }
}

/// Commits a request and records what it changed.
async fn commit(store: Arc<dyn Store>, request: Request, recorder: Recorder) -> Answer {
    let Request { commands, origin, span, deadline, reply } = request;
    if deadline <= Instant::now() {
        return Answer { receipt: None, reply };
    }
    let start = Instant::now();
    let before: Vec<_> = commands.iter().map(|command| recorder.before(command)).collect();
    let limit = (start + COMMIT_TIMEOUT).min(deadline - REPLY);
    let receipt = timeout_at(limit, store.commit(&commands, &origin)).await;
    let receipt = receipt.unwrap_or_else(|_| {
        let reason = format!("no answer within {:.1} s", (limit - start).as_secs_f64());
        let error = RegistryError::Unavailable { store: store.name(), reason };
        Receipt { outcomes: vec![Err(error); commands.len()], index: 0 }
    });
    span.in_scope(|| {
        for ((command, before), outcome) in commands.iter().zip(&before).zip(&receipt.outcomes) {
            match outcome {
                Ok(CommandOutcome::Deregistered { endpoint, revision })
                    if matches!(command, Command::Vanish(..)) =>
                {
                    recorder.vanished(endpoint, *revision);
                }
                Ok(outcome) => recorder.requested(outcome, &origin, before.as_deref()),
                Err(error) => recorder.refused(command, error, &origin),
            }
        }
    });
    Answer { receipt: Some(receipt), reply }
}
