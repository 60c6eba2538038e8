use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;

use super::*;

fn key(name: &str) -> LookupKey {
    let overall = Duration::from_secs(10);
    LookupKey { name: name.parse().unwrap(), all: false, retries: 0, overall, strategies: None }
}

fn record() -> Arc<AttemptLog> {
    Arc::new(AttemptLog::of(Vec::new()))
}

#[tokio::test]
async fn those_who_want_the_same_share_a_flight_and_the_next_gets_a_new_one() {
    let singleflight = SingleFlight::default();
    let started = Arc::new(AtomicUsize::new(0));
    let (land, landed) = oneshot::channel::<()>();
    let mut landed = Some(landed);
    let mut joined = Vec::new();
    for _ in 0..100 {
        joined.push(singleflight.join(&key("api"), || {
            started.fetch_add(1, Ordering::SeqCst);
            let landed = landed.take().unwrap();
            (record(), async move {
                landed.await.unwrap();
                None
            })
        }));
    }
    let other = singleflight.join(&key("db"), || (record(), async { None }));
    assert!(other.result.await.is_none());
    land.send(()).unwrap();
    for flight in joined {
        assert!(flight.result.await.is_none());
    }
    assert_eq!(started.load(Ordering::SeqCst), 1);
    assert!(singleflight.table.lock().singleflight.is_empty());
}

#[tokio::test]
async fn a_flight_goes_on_while_anybody_waits_and_ends_when_nobody_does() {
    let singleflight = SingleFlight::default();
    let (land, landed) = oneshot::channel::<()>();
    let first = singleflight.join(&key("api"), || {
        (record(), async move {
            landed.await.unwrap();
            None
        })
    });
    let second = singleflight
        .join(&key("api"), || -> (_, BoxFuture<'static, _>) { unreachable!("a second flight") });
    assert!(first.result.clone().now_or_never().is_none());
    drop(first);
    land.send(()).unwrap();
    assert!(second.result.await.is_none());

    let endless = singleflight.join(&key("api"), || (record(), std::future::pending()));
    assert!(endless.result.clone().now_or_never().is_none());
    drop(endless);
    assert!(singleflight.table.lock().singleflight.is_empty());
}
