use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;

use super::*;

fn key(name: &str) -> LookupKey {
    let overall = Duration::from_secs(10);
    LookupKey { name: name.parse().unwrap(), all: false, retries: 0, overall, strategies: None }
}

fn log() -> Arc<AttemptLog> {
    Arc::new(AttemptLog::new(Vec::new()))
}

#[tokio::test]
async fn equal_keys_share_one_lookup_until_it_completes() {
    let single_flight = SingleFlight::default();
    let started = Arc::new(AtomicUsize::new(0));
    let (complete, completed) = oneshot::channel::<()>();
    let mut completed = Some(completed);
    let mut joined = Vec::new();
    for _ in 0..100 {
        joined.push(single_flight.join(&key("api"), || {
            started.fetch_add(1, Ordering::SeqCst);
            let completed = completed.take().unwrap();
            (log(), async move {
                completed.await.unwrap();
                None
            })
        }));
    }
    let other = single_flight.join(&key("db"), || (log(), async { None }));
    assert!(other.result.await.is_none());
    complete.send(()).unwrap();
    for lookup in joined {
        assert!(lookup.result.await.is_none());
    }
    assert_eq!(started.load(Ordering::SeqCst), 1);
    assert!(single_flight.table.lock().in_flight.is_empty());
}

#[tokio::test]
async fn lookup_lives_as_long_as_its_last_waiter() {
    let single_flight = SingleFlight::default();
    let (complete, completed) = oneshot::channel::<()>();
    let first = single_flight.join(&key("api"), || {
        (log(), async move {
            completed.await.unwrap();
            None
        })
    });
    let second = single_flight
        .join(&key("api"), || -> (_, BoxFuture<'static, _>) { unreachable!("a second lookup") });
    assert!(first.result.clone().now_or_never().is_none());
    drop(first);
    complete.send(()).unwrap();
    assert!(second.result.await.is_none());

    let endless = single_flight.join(&key("api"), || (log(), std::future::pending()));
    assert!(endless.result.clone().now_or_never().is_none());
    drop(endless);
    assert!(single_flight.table.lock().in_flight.is_empty());
}
