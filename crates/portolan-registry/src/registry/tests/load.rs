//! Many writers on many threads, and readers of different paces. The answers of the writers say which
//! events each reader must receive.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use futures_util::StreamExt;
use portolan_core::Change;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::*;
use super::{registration, start};

const WRITERS: u16 = 8;
const CHANGES: u16 = 400;
const SERVICES: [&str; 4] = ["s0", "s1", "s2", "s3"];
/// The port of the last registrations.
const LAST: u16 = 9999;

/// Every acknowledged change and its service.
type Journal = BTreeMap<Revision, String>;

/// How a reader reads.
#[derive(Debug, Clone, Copy)]
struct Pace {
    names: &'static [&'static str],
    /// The number of events after which it pauses.
    rests_after: usize,
    /// The number of events after which it resumes with a new watch.
    resumes_after: usize,
}

const PACES: [Pace; 6] = [
    Pace { names: &[], rests_after: usize::MAX, resumes_after: usize::MAX },
    Pace { names: &[], rests_after: 3, resumes_after: usize::MAX },
    Pace { names: &[], rests_after: usize::MAX, resumes_after: 5 },
    Pace { names: &["s0"], rests_after: usize::MAX, resumes_after: 7 },
    Pace { names: &["s1", "s2"], rests_after: 2, resumes_after: 9 },
    Pace { names: &["s3"], rests_after: usize::MAX, resumes_after: usize::MAX },
];

/// A registration that displaces none of another name.
fn service(name: &str, port: u16) -> Registration {
    Registration { protocol: name.parse().unwrap(), ..registration(name, port) }
}

/// Changes the same instances as the other writers, and returns what was acknowledged.
async fn write(registry: Registry, writer: u16) -> Journal {
    let mut journal = Journal::new();
    for step in 0..CHANGES {
        let name = SERVICES[usize::from(step + writer) % SERVICES.len()];
        let service = service(name, 1 + (step * 7 + writer) % 5);
        let revision = match (step + writer) % 3 {
            0 => registry.deregister_at(&service.id()).await,
            _ => {
                let version = format!("{writer}.{step}");
                let service = Registration { version, ..service };
                Some(
                    registry
                        .register(service, CommandOrigin::local())
                        .await
                        .unwrap()
                        .endpoint
                        .revision,
                )
            }
        };
        journal.extend(revision.map(|revision| (revision, name.to_owned())));
    }
    journal
}

impl Registry {
    async fn deregister_at(&self, id: &ServiceId) -> Option<Revision> {
        match self.execute(Command::Deregister(id.into()), CommandOrigin::local()).await {
            Ok(CommandOutcome::Deregistered { revision, .. }) => Some(revision),
            Err(RegistryError::Unknown { .. }) => None,
            other => panic!("{other:?}"),
        }
    }
}

/// What a reader received: each snapshot, and the changes after it.
#[derive(Debug)]
struct Seen(Vec<(Revision, Vec<Revision>)>);

/// Reads until the last registration of its last service.
async fn read(registry: Registry, pace: Pace) -> Seen {
    let last = registration(pace.names.last().unwrap_or(&SERVICES[3]), LAST).id();
    let names = pace.names.iter().map(|name| name.parse().unwrap()).collect();
    let mut query = WatchQuery { names, ..WatchQuery::default() };
    let mut watch = registry.watch(query.clone());
    let mut seen = Seen(Vec::new());
    for count in 1.. {
        let event = watch.next().await.expect("the registry runs");
        let there = match &event.change {
            Change::Snapshot { endpoints, .. } => {
                seen.0.push((event.revision, Vec::new()));
                endpoints.iter().any(|endpoint| endpoint.id == last)
            }
            change => {
                let (_, changes) = seen.0.last_mut().expect("starts with a snapshot");
                changes.push(event.revision);
                change.endpoint().is_some_and(|endpoint| endpoint.id == last)
            }
        };
        if there {
            break;
        }
        if count % pace.rests_after == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if count % pace.resumes_after == 0 {
            query.from = Some(event.revision);
            watch = registry.watch(query.clone());
        }
    }
    seen
}

impl Seen {
    /// Asserts that after each snapshot it received every change in order.
    fn check(&self, journal: &Journal, pace: Pace) {
        let wanted = |name: &String| pace.names.is_empty() || pace.names.contains(&name.as_str());
        let last = journal.iter().rev().find(|(_, name)| wanted(name)).map(|(at, _)| *at).unwrap();
        for (place, (start, changes)) in self.0.iter().enumerate() {
            let after = journal.iter().filter(|(at, name)| *at > start && wanted(name));
            let expected: Vec<_> = after.map(|(at, _)| *at).take(changes.len()).collect();
            assert_eq!(*changes, expected, "{pace:?} after {start}");
            let reached = *changes.last().unwrap_or(start);
            match self.0.get(place + 1) {
                Some((next, _)) => assert!(*next >= reached, "{pace:?}: from {reached} to {next}"),
                None => assert!(reached >= last, "{pace:?}: {reached} of {last}"),
            }
        }
    }
}

async fn readers_against_writers(history: usize) -> Vec<Seen> {
    let running = start(&RegistryConfig { history, ..Default::default() });
    let registry = &running.registry;
    let readers = PACES.map(|pace| tokio::spawn(read(registry.clone(), pace)));
    let mut writers = JoinSet::new();
    (0..WRITERS).for_each(|writer| drop(writers.spawn(write(registry.clone(), writer))));
    let mut journal = Journal::new();
    for (revision, name) in writers.join_all().await.into_iter().flatten() {
        match journal.entry(revision) {
            Entry::Vacant(place) => drop(place.insert(name)),
            Entry::Occupied(other) => panic!("{revision} is {name} and {}", other.get()),
        }
    }
    for name in SERVICES {
        let last = registry.register(service(name, LAST), CommandOrigin::local()).await.unwrap();
        journal.insert(last.endpoint.revision, name.to_owned());
    }
    let mut all = Vec::new();
    for (reader, pace) in readers.into_iter().zip(PACES) {
        let seen = timeout(Duration::from_secs(60), reader).await.expect("still reads").unwrap();
        seen.check(&journal, pace);
        all.push(seen);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_receive_every_change_once() {
    for seen in readers_against_writers(10_000).await {
        assert_eq!(seen.0.len(), 1, "no reader fell behind");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_that_fall_behind_get_a_snapshot_and_every_change_after_it() {
    readers_against_writers(100).await;
}
