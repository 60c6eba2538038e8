//! The stream of events of a watch.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use portolan_core::{Change, Revision, ServiceEvent};
use tokio::time::{Sleep, sleep_until};

use crate::WatchQuery;
use crate::view::{Filter, ReadResult, View, Waiter};

/// The number of events that a watch reads at once and buffers.
const CHUNK: usize = 64;

/// Every change of the services watched, once each and in order.
///
/// It starts with a snapshot, or exactly after the requested revision if the history still has it.
/// It buffers a bounded number of events however slowly it is read: a stream that falls behind the
/// history gets a snapshot and continues from there. If a snapshot was incomplete, because the registry had
/// just started, a complete one follows as soon as every service had time to register again. It ends when the registry shuts down.
#[derive(Debug)]
pub struct EventStream {
    view: Arc<View>,
    filter: Filter,
    waiter: Arc<Waiter>,
    after: Option<Revision>,
    /// The revision of the last event or bookmark.
    told: Option<Revision>,
    pending: VecDeque<Arc<ServiceEvent>>,
    /// When a complete snapshot follows the incomplete one.
    completion: Option<Pin<Box<Sleep>>>,
}

// === impl EventStream ===

impl EventStream {
    pub(crate) fn new(view: Arc<View>, query: WatchQuery) -> Self {
        let WatchQuery { mut names, scopes, from } = query;
        names.sort_unstable();
        names.dedup();
        let waiter = Waiter::new(scopes.clone());
        let filter = Filter { names, scopes };
        view.subscribe(&filter, &waiter);
        let (pending, completion) = (VecDeque::new(), None);
        Self { view, filter, waiter, after: from, told: from, pending, completion }
    }

    /// Returns the revision up to which the stream has delivered everything that it watches, if that is newer than its last
    /// event or bookmark: a watch that resumes from it misses nothing, and needs less history. `None` also if events are
    /// waiting, so poll the stream again.
    pub fn bookmark(&mut self) -> Option<Revision> {
        // Before the first snapshot there is nothing to resume; an incomplete one is followed by another.
        if !self.pending.is_empty() || self.told.is_none() || self.completion.is_some() {
            return None;
        }
        let ReadResult::Events(events, after) = self.view.read(&self.filter, self.after, CHUNK)
        else {
            return None;
        };
        self.take(events, after);
        if !self.pending.is_empty() || self.after <= self.told {
            return None;
        }
        self.told = self.after;
        self.after
    }

    fn take(&mut self, events: Vec<Arc<ServiceEvent>>, after: Option<Revision>) {
        self.await_completion(&events);
        self.pending = events.into();
        self.after = after;
    }

    /// Waits for the complete state if the events begin with an incomplete one.
    fn await_completion(&mut self, events: &[Arc<ServiceEvent>]) {
        let is_incomplete = |event: &Arc<ServiceEvent>| {
            matches!(event.change, Change::Snapshot { incomplete: true, .. })
        };
        if events.first().is_some_and(is_incomplete) {
            self.completion = Some(Box::pin(sleep_until(self.view.complete_at())));
        }
    }

    /// Starts over with a snapshot once the state is complete.
    fn poll_completion(&mut self, context: &mut Context<'_>) {
        let Some(completion) = &mut self.completion else { return };
        if completion.as_mut().poll(context).is_ready() {
            self.completion = None;
            self.after = None;
        }
    }
}

impl Stream for EventStream {
    type Item = Arc<ServiceEvent>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let watch = self.get_mut();
        if watch.pending.is_empty() {
            watch.poll_completion(context);
            watch.waiter.register(context.waker());
            match watch.view.read(&watch.filter, watch.after, CHUNK) {
                ReadResult::Closed => return Poll::Ready(None),
                ReadResult::Events(events, after) => watch.take(events, after),
            }
        }
        match watch.pending.pop_front() {
            Some(event) => {
                watch.told = Some(event.revision);
                Poll::Ready(Some(event))
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.view.unsubscribe(&self.filter, &self.waiter);
    }
}
