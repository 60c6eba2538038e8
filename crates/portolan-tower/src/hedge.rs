//! Sends a request that takes long to a second instance, too.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, select};
use http::Request;
use tokio::time::sleep;
use tower::retry::budget::{Budget, TpsBudget};
use tower::{Service, ServiceExt};

use crate::retry::is_idempotent;

/// Sends a request of an idempotent method (RFC 9110) that is not answered after a while to a balancer once more, which selects another
/// instance if it compares the pending requests. The first response counts, and the other request is dropped.
///
/// So an instance that hangs, or a pause of a good one, delays a request by that while and not until its timeout. If all
/// instances are slow, repeating makes it worse: at most one request in five is sent twice, and ten in a second more. Beyond that
/// budget, which clones share, a request waits for its turn.
pub struct Hedge<S> {
    service: S,
    after: Duration,
    budget: Arc<TpsBudget>,
}

// === impl Hedge ===

impl<S> Hedge<S> {
    /// Returns a service that sends a request a second time after this time: more than most responses take, such as their
    /// 95th percentile.
    pub fn new(service: S, after: Duration) -> Self {
        Self { service, after, budget: Arc::default() }
    }
}

impl<S, B> Service<Request<B>> for Hedge<S>
where
    S: Service<Request<B>, Future: Send> + Clone + Send + 'static,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
    B: Clone + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let other = is_idempotent(request.method()).then(|| request.clone());
        let first = self.service.call(request);
        let Some(other) = other else { return first.boxed() };
        self.budget.deposit();
        let (service, after, budget) = (self.service.clone(), self.after, Arc::clone(&self.budget));
        async move {
            let first = match select(first.boxed(), affordable(&budget, after).boxed()).await {
                Either::Left((result, _)) => return result,
                Either::Right(((), first)) => first,
            };
            match select(first, service.oneshot(other).boxed()).await {
                // One that failed leaves the other.
                Either::Left((Err(_), other)) | Either::Right((Err(_), other)) => other.await,
                Either::Left((answer, _)) | Either::Right((answer, _)) => answer,
            }
        }
        .boxed()
    }
}

/// Waits for this time, and as often again as the budget allows no request.
async fn affordable(budget: &TpsBudget, after: Duration) {
    loop {
        sleep(after).await;
        if budget.withdraw() {
            return;
        }
    }
}

impl<S: Clone> Clone for Hedge<S> {
    fn clone(&self) -> Self {
        let Self { service, after, budget } = self;
        Self { service: service.clone(), after: *after, budget: Arc::clone(budget) }
    }
}

impl<S> fmt::Debug for Hedge<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hedge").field("after", &self.after).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::Method;
    use tokio::time::Instant;
    use tower::service_fn;

    use super::*;

    const AFTER: Duration = Duration::from_millis(10);

    /// Each request takes the next of these times, the last one again; an odd number of milliseconds is an error.
    fn hedged(
        times: &'static [u64],
    ) -> (
        Hedge<impl Service<Request<()>, Response = u64, Error = u64, Future: Send> + Clone + Send>,
        Arc<AtomicUsize>,
    ) {
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&sent);
        let service = service_fn(move |_: Request<()>| {
            let index = counted.fetch_add(1, Ordering::Relaxed).min(times.len() - 1);
            async move {
                sleep(Duration::from_millis(times[index])).await;
                if times[index].is_multiple_of(2) { Ok(times[index]) } else { Err(times[index]) }
            }
        });
        (Hedge::new(service, AFTER), sent)
    }

    async fn send(times: &'static [u64], method: Method) -> (Result<u64, u64>, usize, u128) {
        let (service, sent) = hedged(times);
        let began = Instant::now();
        let answer = service.oneshot(Request::builder().method(method).body(()).unwrap()).await;
        (answer, sent.load(Ordering::Relaxed), began.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn request_that_hangs_is_sent_to_another_instance() {
        assert_eq!(send(&[1_000_000, 4], Method::GET).await, (Ok(4), 2, 14));
        // The first one may answer all the same.
        assert_eq!(send(&[20, 100], Method::GET).await, (Ok(20), 2, 20));
        assert_eq!(send(&[8], Method::GET).await, (Ok(8), 1, 8));
        assert_eq!(send(&[7], Method::GET).await, (Err(7), 1, 7));
    }

    #[tokio::test(start_paused = true)]
    async fn failure_of_one_request_leaves_the_other() {
        assert_eq!(send(&[20, 5], Method::GET).await, (Ok(20), 2, 20));
        assert_eq!(send(&[21, 30], Method::GET).await, (Ok(30), 2, 40));
        assert_eq!(send(&[21, 31], Method::GET).await, (Err(31), 2, 41));
    }

    #[tokio::test(start_paused = true)]
    async fn request_that_may_not_be_repeated_is_sent_once() {
        assert_eq!(send(&[1_000, 4], Method::POST).await, (Ok(1_000), 1, 1_000));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_instances_do_not_get_twice_the_requests() {
        let (service, sent) = hedged(&[100]);
        let get = || service.clone().oneshot(Request::new(()));
        futures_util::future::join_all((0..1_000).map(|_| get())).await;
        // The budget allows 100 in 10 s, and one in five.
        assert!((1_000..=1_300).contains(&sent.load(Ordering::Relaxed)), "{sent:?}");
    }
}
