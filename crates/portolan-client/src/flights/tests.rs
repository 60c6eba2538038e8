use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;

use super::*;

fn wanted(name: &str) -> Wanted {
    let overall = Duration::from_secs(10);
    Wanted { name: name.parse().unwrap(), all: false, retries: 0, overall, strategies: None }
}

fn record() -> Arc<Record> {
    Arc::new(Record::of(Vec::new()))
}

#[tokio::test]
async fn those_who_want_the_same_share_a_flight_and_the_next_gets_a_new_one() {
    let flights = Flights::default();
    let started = Arc::new(AtomicUsize::new(0));
    let (land, landed) = oneshot::channel::<()>();
    let mut landed = Some(landed);
    let mut joined = Vec::new();
    for _ in 0..100 {
        joined.push(flights.join(&wanted("api"), || {
            started.fetch_add(1, Ordering::SeqCst);
            let landed = landed.take().unwrap();
            (record(), async move {
                landed.await.unwrap();
                None
            })
        }));
    }
    let other = flights.join(&wanted("db"), || (record(), async { None }));
    assert!(other.landing.await.is_none());
    land.send(()).unwrap();
    for flight in joined {
        assert!(flight.landing.await.is_none());
    }
    assert_eq!(started.load(Ordering::SeqCst), 1);
    assert!(flights.table.lock().flights.is_empty());
}

#[tokio::test]
async fn a_flight_goes_on_while_anybody_waits_and_ends_when_nobody_does() {
    let flights = Flights::default();
    let (land, landed) = oneshot::channel::<()>();
    let first = flights.join(&wanted("api"), || {
        (record(), async move {
            landed.await.unwrap();
            None
        })
    });
    let second = flights
        .join(&wanted("api"), || -> (_, BoxFuture<'static, _>) { unreachable!("a second flight") });
    assert!(first.landing.clone().now_or_never().is_none());
    drop(first);
    land.send(()).unwrap();
    assert!(second.landing.await.is_none());

    let endless = flights.join(&wanted("api"), || (record(), std::future::pending()));
    assert!(endless.landing.clone().now_or_never().is_none());
    drop(endless);
    assert!(flights.table.lock().flights.is_empty());
}
