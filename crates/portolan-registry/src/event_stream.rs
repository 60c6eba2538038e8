//! The stream of events of a watch.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use portolan_core::{Revision, ServiceEvent};

use crate::WatchQuery;
use crate::view::{Filter, ReadResult, View, Waiter};

/// The number of events that a watch reads at once and buffers.
const CHUNK: usize = 64;

/// Every change of the services watched, once each and in order.
///
/// It starts with a snapshot, or exactly after the requested revision if the history still has it.
/// It buffers a bounded number of events however slowly it is read: a stream that falls behind the
/// history gets a snapshot and continues from there. It ends when the registry shuts down.
#[derive(Debug)]
pub struct EventStream {
    view: Arc<View>,
    filter: Filter,
    waiter: Arc<Waiter>,
    after: Option<Revision>,
    pending: VecDeque<Arc<ServiceEvent>>,
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
        Self { view, filter, waiter, after: from, pending: VecDeque::new() }
    }
}

impl Stream for EventStream {
    type Item = Arc<ServiceEvent>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let watch = self.get_mut();
        if watch.pending.is_empty() {
            watch.waiter.register(context.waker());
            match watch.view.read(&watch.filter, watch.after, CHUNK) {
                ReadResult::Closed => return Poll::Ready(None),
                ReadResult::Events(events, after) => {
                    watch.pending = events.into();
                    watch.after = after;
                }
            }
        }
        match watch.pending.pop_front() {
            Some(event) => Poll::Ready(Some(event)),
            None => Poll::Pending,
        }
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.view.unsubscribe(&self.filter, &self.waiter);
    }
}
