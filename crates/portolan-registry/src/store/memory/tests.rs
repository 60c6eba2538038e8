use portolan_core::{Host, Registration};

use super::*;
use crate::store::suite;

fn store(max_endpoints: usize) -> Memory {
    Memory::new(&RegistryConfig { max_endpoints, ..RegistryConfig::default() }).unwrap()
}

fn register(port: u16) -> Command {
    Command::Register(Registration::new("api".parse().unwrap(), Host::loopback(), port))
}

#[tokio::test(start_paused = true)]
async fn memory_passes_the_suite_of_all_stores() {
    suite::run(async || store(100)).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_store_names_its_limit_and_still_takes_those_it_knows() {
    let mut store = store(2);
    let outcomes = store.apply(vec![register(1), register(2), register(3)], Source::Api).await;
    assert!(outcomes[0].is_ok() && outcomes[1].is_ok());
    assert_eq!(outcomes[2], Err(RegistryError::Full { limit: 2 }));
    assert!(store.apply(vec![register(1)], Source::Api).await[0].is_ok());
    let id = register(2).id();
    assert!(store.apply(vec![Command::Deregister(id), register(3)], Source::Api).await[1].is_ok());
}

#[tokio::test(start_paused = true)]
async fn hearsay_leaves_half_the_room_to_those_who_register() {
    let mut store = store(4);
    let heard = vec![register(1), register(2), register(3)];
    let outcomes = store.apply(heard, Source::Broadcast).await;
    assert_eq!(outcomes[2], Err(RegistryError::BroadcastFull { limit: 2 }));
    // One registers by itself, one goes: both make room for hearsay.
    assert!(store.apply(vec![register(1)], Source::Api).await[0].is_ok());
    assert!(store.apply(vec![register(3)], Source::Broadcast).await[0].is_ok());
    let gone = Command::Deregister(register(3).id());
    assert!(store.apply(vec![gone, register(4)], Source::Broadcast).await[1].is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_sweep_ends_and_counts_what_the_timer_queue_missed() {
    let mut store = store(10);
    store.apply(vec![register(1), register(2)], Source::Api).await;
    tokio::time::advance(Ttl::DEFAULT.duration()).await;
    assert_eq!(store.sweep().await, 0, "the timer queue is in time for these");
    tokio::time::advance(LATE).await;
    assert_eq!(store.sweep().await, 2);
    let committed = store.next().await;
    let expired = |committed: &&Committed| match committed {
        Committed::Changed(event) => event.change.kind() == "expired",
        _ => false,
    };
    assert_eq!(committed.iter().filter(expired).count(), 2);
    assert_eq!(store.imported, 0);
}

#[tokio::test(start_paused = true)]
async fn many_leases_that_end_at_once_end_in_portions() {
    let mut store = store(1000);
    store.apply((1..=600).map(register).collect(), Source::Api).await;
    store.next().await;
    tokio::time::advance(Ttl::DEFAULT.duration() + Duration::from_millis(1)).await;
    let mut portions = Vec::new();
    while portions.iter().sum::<usize>() < 600 {
        portions.push(store.next().await.len());
    }
    assert!(portions.len() > 1 && portions.iter().all(|portion| *portion <= EXPIRIES));
}

#[test]
fn a_later_life_begins_above_an_earlier_one() {
    let at = |time: &str| first_revision(time.parse().unwrap());
    let first = at("2026-11-23T12:00:00Z");
    assert!(at("2026-11-23T12:00:01Z").0 > first.0 + 1_000_000);
    assert!(at("2200-01-01T00:00:00Z").0 < 1 << 53);
}
