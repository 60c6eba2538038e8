//! Many writers on many threads, and readers of every pace: what each change made is known from
//! the answers, so each reader can be held to all of it.

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
/// The port of the instances that register last.
const LAST: u16 = 9999;

/// Every change that was acknowledged: the service that it was one of.
type Journal = BTreeMap<Revision, String>;

/// How a reader reads.
#[derive(Debug, Clone, Copy)]
struct Pace {
    names: &'static [&'static str],
    /// After how many events it rests, and lets the others get ahead.
    rests_after: usize,
    /// After how many it drops its watch and resumes with another.
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

/// Changes what the other writers change too, and says what came of it.
async fn write(registry: Registry, writer: u16) -> Journal {
    let mut journal = Journal::new();
    for step in 0..CHANGES {
        let name = SERVICES[usize::from(step + writer) % SERVICES.len()];
        let service = registration(name, 1 + (step * 7 + writer) % 5);
        let revision = match (step + writer) % 3 {
            0 => registry.deregister_at(&service.id()).await,
            _ => {
                let version = format!("{writer}.{step}");
                let service = Registration { version, ..service };
                Some(registry.register(service, Origin::local()).await.unwrap().endpoint.revision)
            }
        };
        journal.extend(revision.map(|revision| (revision, name.to_owned())));
    }
    journal
}

impl Registry {
    async fn deregister_at(&self, id: &ServiceId) -> Option<Revision> {
        match self.apply_one(Command::Deregister(id.clone()), Origin::local()).await {
            Ok(CommandOutcome::Deregistered { revision, .. }) => Some(revision),
            Err(RegistryError::Unknown { .. }) => None,
            other => panic!("{other:?}"),
        }
    }
}

/// What a reader saw: where it began anew, and the changes from there on.
#[derive(Debug)]
struct Seen(Vec<(Revision, Vec<Revision>)>);

/// Reads until the last instance of the last of its services is there.
async fn read(registry: Registry, pace: Pace) -> Seen {
    let last = registration(pace.names.last().unwrap_or(&SERVICES[3]), LAST).id();
    let names = pace.names.iter().map(|name| name.parse().unwrap()).collect();
    let mut query = WatchQuery { names, ..WatchQuery::default() };
    let mut watch = registry.watch(query.clone());
    let mut seen = Seen(Vec::new());
    for count in 1.. {
        let event = watch.next().await.expect("the registry goes on");
        let there = match &event.change {
            Change::Snapshot { endpoints } => {
                seen.0.push((event.revision, Vec::new()));
                endpoints.iter().any(|endpoint| endpoint.id == last)
            }
            change => {
                let (_, changes) = seen.0.last_mut().expect("it begins with a snapshot");
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
    /// Asserts that from each beginning it saw everything in order, up to the next or to the end.
    fn check(&self, journal: &Journal, pace: Pace) {
        let wanted = |name: &String| pace.names.is_empty() || pace.names.contains(&name.as_str());
        let last = journal.iter().rev().find(|(_, name)| wanted(name)).map(|(at, _)| *at).unwrap();
        for (place, (start, changes)) in self.0.iter().enumerate() {
            let after = journal.iter().filter(|(at, name)| *at > start && wanted(name));
            let told: Vec<_> = after.map(|(at, _)| *at).take(changes.len()).collect();
            assert_eq!(*changes, told, "{pace:?} after {start}");
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
        let last = registry.register(registration(name, LAST), Origin::local()).await.unwrap();
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
async fn no_reader_loses_or_doubles_a_change_while_history_lasts() {
    for seen in readers_against_writers(10_000).await {
        assert_eq!(seen.0.len(), 1, "nobody was away too long");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_that_falls_behind_begins_anew_and_then_misses_nothing() {
    readers_against_writers(100).await;
}
