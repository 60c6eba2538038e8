//! The policy by which a failed request is sent to another instance.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};
use tokio::time::{Sleep, sleep};
use tower::retry::Policy;

/// The pause before the second repetition; it doubles with each further one. The first follows at once, because the instance that
/// failed has left the balancer.
const PAUSE: Duration = Duration::from_millis(20);

/// Sends a request that failed again, which a balancer sends to another instance: one of an idempotent method (RFC 9110), or
/// one that was certainly not sent.
///
/// A response is never repeated, whatever its status.
pub struct RetryOnOther<E> {
    /// How many instances may still get the request.
    left: u32,
    pause: Duration,
    was_not_sent: NotSent<E>,
}

type NotSent<E> = Arc<dyn Fn(&E) -> bool + Send + Sync>;

// === impl RetryOnOther ===

impl<E> RetryOnOther<E> {
    /// Returns a policy by which at most this many instances get a request, the first one included.
    pub fn new(attempts: u32) -> Self {
        let left = attempts.saturating_sub(1);
        Self { left, pause: Duration::ZERO, was_not_sent: Arc::new(|_| false) }
    }

    /// Sets which errors say that nothing was sent, such as a refused connection. Such a request is repeated whatever its method.
    /// Default: none.
    pub fn not_sent(mut self, was_not_sent: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self {
        self.was_not_sent = Arc::new(was_not_sent);
        self
    }
}

impl<B: Clone, R, E> Policy<Request<B>, R, E> for RetryOnOther<E> {
    type Future = Sleep;

    fn retry(&mut self, request: &mut Request<B>, result: &mut Result<R, E>) -> Option<Sleep> {
        let error = result.as_ref().err()?;
        let may_repeat = is_idempotent(request.method()) || (self.was_not_sent)(error);
        if !may_repeat || self.left == 0 {
            return None;
        }
        self.left -= 1;
        let pause = self.pause;
        self.pause = (pause * 2).max(PAUSE);
        Some(sleep(pause))
    }

    fn clone_request(&mut self, request: &Request<B>) -> Option<Request<B>> {
        (self.left > 0).then(|| request.clone())
    }
}

pub(crate) fn is_idempotent(method: &Method) -> bool {
    let idempotent =
        [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE];
    idempotent.contains(method)
}

impl<E> Clone for RetryOnOther<E> {
    fn clone(&self) -> Self {
        let was_not_sent = Arc::clone(&self.was_not_sent);
        Self { left: self.left, pause: self.pause, was_not_sent }
    }
}

impl<E> fmt::Debug for RetryOnOther<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryOnOther").field("left", &self.left).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Answer = Result<(), &'static str>;

    /// Returns how often a request of this method is repeated if it fails with this error.
    async fn repetitions(method: Method, error: &'static str) -> usize {
        let mut policy = RetryOnOther::new(3).not_sent(|error| *error == "refused");
        let mut request = Request::builder().method(method).body(()).unwrap();
        let mut count = 0;
        loop {
            let mut result: Answer = Err(error);
            match policy.retry(&mut request, &mut result) {
                Some(pause) => pause.await,
                None => return count,
            }
            count += 1;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn idempotent_requests_and_those_not_sent_are_repeated() {
        assert_eq!(repetitions(Method::GET, "reset").await, 2);
        assert_eq!(repetitions(Method::POST, "refused").await, 2);
        assert_eq!(repetitions(Method::POST, "reset").await, 0);
    }

    #[test]
    fn responses_are_not_repeated() {
        let mut policy = RetryOnOther::<&str>::new(3);
        let mut answer: Answer = Ok(());
        assert!(policy.retry(&mut Request::new(()), &mut answer).is_none());
        let mut single = RetryOnOther::<&str>::new(1);
        let copy = Policy::<_, (), _>::clone_request(&mut single, &Request::new(()));
        assert!(copy.is_none());
    }
}
