use std::fs;
use std::time::Duration;

use portolan_core::{Host, Registration, Ttl};
use tempfile::TempDir;

use super::super::frame::encode;
use super::*;
use crate::store::memory::Memory;
use crate::store::{Committed, OpenError, Store, suite};
use crate::{Command, RegistryConfig};

mod misplaced;
mod removed;
mod settings;

/// A data directory that is opened again and again.
struct Directory(TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn copy(&self) -> Self {
        let copy = Self::new();
        for entry in fs::read_dir(self.0.path()).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, copy.0.path().join(path.file_name().unwrap())).unwrap();
        }
        copy
    }

    fn config(&self) -> RegistryConfig {
        RegistryConfig { data_dir: Some(self.0.path().to_owned()), ..RegistryConfig::default() }
    }

    fn open(&self) -> Result<Memory, OpenError> {
        Memory::open(&self.config())
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    fn journal(&self) -> PathBuf {
        self.0.path().join("journal-00000001")
    }

    /// The ports of the instances that a server finds.
    async fn ports(&self) -> Vec<u16> {
        ports(&self.open().unwrap()).await
    }
}

async fn reset(store: &Memory) -> (Vec<Arc<ServiceEndpoint>>, Revision, Option<History>) {
    let update = store.feed().next().await.unwrap();
    match update.committed.into_iter().next() {
        Some(Committed::Reset { endpoints, revision, history }) => (endpoints, revision, history),
        other => panic!("{other:?}"),
    }
}

async fn ports(store: &Memory) -> Vec<u16> {
    let mut ports: Vec<_> = reset(store).await.0.iter().map(|endpoint| endpoint.port).collect();
    ports.sort_unstable();
    ports
}

fn registration(port: u16) -> Registration {
    Registration::new("api".parse().unwrap(), Host::loopback(), port)
}

async fn register(store: &Memory, port: u16) {
    commit(store, Command::Register(registration(port))).await;
}

async fn commit(store: &Memory, command: Command) {
    store.commit(&[command], &suite::api()).await.outcomes.remove(0).unwrap();
}

fn lines(path: &Path) -> Vec<Vec<u8>> {
    fs::read(path).unwrap().split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

#[tokio::test]
async fn acknowledged_changes_survive() {
    let directory = Directory::new();
    let store = directory.open().unwrap();
    assert!(!store.has_former_state());
    for port in 1..=3 {
        register(&store, port).await;
    }
    commit(&store, Command::Deregister(registration(2).id().into())).await;
    let (mut before, revision, _) = reset(&store).await;
    drop(store);
    let store = directory.open().unwrap();
    assert!(store.has_former_state());
    let (mut after, started, history) = reset(&store).await;
    assert!(started > revision);
    before.sort_by_key(|endpoint| endpoint.port);
    after.sort_by_key(|endpoint| endpoint.port);
    assert_eq!(before, after);
    let kinds: Vec<_> = history.unwrap().events.iter().map(|event| event.change.kind()).collect();
    assert_eq!(kinds, ["registered", "registered", "registered", "deregistered"]);
}

#[tokio::test]
async fn owner_survives() {
    let directory = Directory::new();
    let peer = crate::CommandOrigin::api("10.0.0.7".parse::<std::net::IpAddr>().unwrap());
    let other = crate::CommandOrigin::api("10.0.0.8".parse::<std::net::IpAddr>().unwrap());
    let at = |host: &str| Registration {
        id: Some("api-1".parse().unwrap()),
        ..Registration::new("api".parse().unwrap(), host.parse().unwrap(), 80)
    };
    let store = directory.open().unwrap();
    let first = [Command::Register(at("10.0.0.7"))];
    assert!(store.commit(&first, &peer).await.outcomes[0].is_ok());
    drop(store);
    let store = directory.open().unwrap();
    let second = [Command::Register(at("10.0.0.8"))];
    let error = store.commit(&second, &other).await.outcomes.remove(0).unwrap_err();
    assert!(matches!(error, crate::RegistryError::OwnedByAnother { .. }), "{error}");
}

#[tokio::test]
async fn last_write_torn_at_any_byte_loses_only_itself() {
    let directory = Directory::new();
    let store = directory.open().unwrap();
    register(&store, 1).await;
    register(&store, 2).await;
    drop(store);
    let bytes = fs::read(directory.journal()).unwrap();
    let last = lines(&directory.journal()).last().unwrap().len();
    for length in bytes.len() - last..bytes.len() {
        let torn = directory.copy();
        fs::write(torn.journal(), &bytes[..length]).unwrap();
        assert_eq!(torn.ports().await, [1], "{length} of {}", bytes.len());
        // What is registered next is intact.
        let store = torn.open().unwrap();
        register(&store, 3).await;
        drop(store);
        assert_eq!(torn.ports().await, [1, 3]);
    }
    for at in bytes.len() - last..bytes.len() {
        let damaged = directory.copy();
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x10;
        fs::write(damaged.journal(), bytes).unwrap();
        assert_eq!(damaged.ports().await, [1], "byte {at}");
    }
}

#[tokio::test]
async fn damage_before_the_last_write_is_an_error_that_names_the_line() {
    let directory = Directory::new();
    let store = directory.open().unwrap();
    for port in 1..=3 {
        register(&store, port).await;
    }
    drop(store);
    let lines = lines(&directory.journal());
    for (number, line) in lines[..lines.len() - 1].iter().enumerate() {
        let start: usize = lines[..number].iter().map(Vec::len).sum();
        let end = start + line.len();
        // Some bytes, and the newline, without which the next line is damaged too.
        for at in (start..end).step_by(7).chain([end - 1]) {
            let damaged = directory.copy();
            let mut bytes = fs::read(damaged.journal()).unwrap();
            bytes[at] ^= 0x10;
            fs::write(damaged.journal(), bytes).unwrap();
            let error = damaged.open().unwrap_err();
            let OpenError::DataDir(DataDirError::Damaged { line, .. }) = &error else {
                panic!("{error}")
            };
            assert_eq!(*line, number as u64 + 1, "byte {at}: {error}");
        }
    }
}

#[tokio::test]
async fn directory_of_another_server_or_version_is_refused() {
    let directory = Directory::new();
    let store = directory.open().unwrap();
    let pid = std::process::id();
    let in_use = directory.open().unwrap_err();
    assert!(
        matches!(in_use, OpenError::DataDir(DataDirError::InUse { pid: Some(found), .. }) if found == pid)
    );
    drop(store);
    let header = serde_json::json!({"portolan": "journal", "version": 3, "new": true});
    fs::write(directory.journal(), encode(&header)).unwrap();
    let error = directory.open().unwrap_err();
    assert!(matches!(
        error,
        OpenError::DataDir(DataDirError::Version { found: 3, expected: 2, .. })
    ));
}

#[tokio::test]
async fn missing_journal_is_an_error() {
    let directory = Directory::new();
    drop(directory.open().unwrap());
    fs::rename(directory.journal(), directory.0.path().join("journal-00000002")).unwrap();
    let error = directory.open().unwrap_err();
    assert!(matches!(error, OpenError::DataDir(DataDirError::Missing { .. })), "{error}");
}

#[tokio::test]
async fn journal_is_replaced_by_a_snapshot_and_the_history_is_kept() {
    let directory = Directory::new();
    let store = Memory::open_with(&directory.config(), 2_000).unwrap();
    let mut last = Revision::default();
    for port in 1..=100 {
        register(&store, port).await;
        // Each is replaced at once, so that the journal grows and the state does not.
        commit(&store, Command::Deregister(registration(port).id().into())).await;
        last = store.revision();
    }
    register(&store, 101).await;
    drop(store);
    let files = directory.files();
    assert!(files.len() <= 5, "{files:?}");
    assert!(!files.contains(&"journal-00000001".to_owned()), "{files:?}");
    assert!(!files.iter().any(|name| name.ends_with(".tmp")), "{files:?}");
    let store = directory.open().unwrap();
    let (endpoints, _, history) = reset(&store).await;
    assert_eq!(endpoints.iter().map(|endpoint| endpoint.port).collect::<Vec<_>>(), [101]);
    let history = history.unwrap();
    assert!(history.since < last, "the journal before the snapshot has changes");
    let revisions: Vec<_> = history.events.iter().map(|event| event.revision).collect();
    assert!(revisions.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0), "{revisions:?}");
    assert_eq!(revisions.last().map(|revision| revision.0), Some(last.0 + 1));
}

#[tokio::test]
async fn snapshot_whose_journal_has_no_name_yet_is_what_a_crash_leaves() {
    let directory = Directory::new();
    let store = Memory::open_with(&directory.config(), 1_000).unwrap();
    for port in 1..=50 {
        register(&store, port).await;
    }
    drop(store);
    let files = directory.files();
    let path = |name: &str| directory.0.path().join(name);
    let newest = files.iter().rfind(|name| name.starts_with("snapshot-")).unwrap();
    let first = newest.replace("snapshot", "journal");
    let is_later = |name: &&String| name.starts_with("journal-") && **name >= first;
    let later: Vec<_> = files.iter().filter(is_later).collect();
    for name in &later[1..] {
        fs::remove_file(path(name)).unwrap();
    }
    fs::rename(path(later[0]), path(&format!("{}.tmp", later[0]))).unwrap();
    fs::write(path("snapshot-00000999.tmp"), "torn").unwrap();
    assert!(!directory.ports().await.is_empty());
    assert!(directory.files().contains(later[0]), "{:?}", directory.files());
    assert!(!directory.files().iter().any(|name| name.ends_with(".tmp")));
    // Without it, what was acknowledged after the snapshot is lost.
    fs::remove_file(path(later[0])).unwrap();
    let error = directory.open().unwrap_err();
    assert!(matches!(error, OpenError::DataDir(DataDirError::Missing { .. })), "{error}");
}

#[tokio::test]
async fn snapshot_that_ends_early_and_empty_journal_are_errors() {
    let directory = Directory::new();
    let store = Memory::open_with(&directory.config(), 1_000).unwrap();
    for port in 1..=600 {
        register(&store, port).await;
    }
    drop(store);
    let files = directory.files();
    let snapshot = files.iter().rfind(|name| name.starts_with("snapshot-")).unwrap();
    let cut = directory.copy();
    let snapshot = cut.0.path().join(snapshot);
    let lines = lines(&snapshot);
    fs::write(&snapshot, lines[..lines.len() - 1].concat()).unwrap();
    let error = cut.open().unwrap_err().to_string();
    assert!(error.contains("the file ends after"), "{error}");
    let journal = files.iter().rfind(|name| name.starts_with("journal-")).unwrap();
    fs::write(directory.0.path().join(journal), "").unwrap();
    let error = directory.open().unwrap_err().to_string();
    assert!(error.contains("is damaged in line 1"), "{error}");
}

#[tokio::test]
async fn files_with_other_names_are_ignored() {
    let directory = Directory::new();
    register(&directory.open().unwrap(), 1).await;
    for name in ["journal-1", "journal-+3", "journal-0000002", "snapshot-18446744073709551615"] {
        fs::copy(directory.journal(), directory.0.path().join(name)).unwrap();
    }
    assert_eq!(directory.ports().await, [1]);
}

#[tokio::test]
async fn registrations_of_the_largest_size_survive_in_a_snapshot() {
    let directory = Directory::new();
    let store = Memory::open_with(&directory.config(), 15 << 20).unwrap();
    for port in 1..=40 {
        let mut large = registration(port);
        // Each character is two in JSON.
        large.metadata = (0..63).map(|key| (key.to_string(), "\"".repeat(4096))).collect();
        commit(&store, Command::Register(large)).await;
    }
    register(&store, 41).await;
    drop(store);
    let files = directory.files();
    assert!(files.iter().any(|name| name.starts_with("snapshot-")), "{files:?}");
    assert_eq!(directory.ports().await, (1..=41).collect::<Vec<_>>());
}

fn instance(heartbeat: &str, ttl: u64) -> Instance {
    let ttl = Ttl::new(Duration::from_secs(ttl)).unwrap();
    let endpoint = registration(1).into_endpoint(ttl, heartbeat.parse().unwrap());
    Instance::new(Arc::new(endpoint), crate::store::owner::Owner::new(&suite::api()), None)
}

#[test]
fn lease_is_extended_by_the_downtime_once() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let mut instance = instance("2026-11-27T12:00:00Z", 60);
    assert_eq!(instance.ends, at("2026-11-27T12:01:00Z"));
    // 20 s down: the lease has as much left as before.
    instance.extend(at("2026-11-27T12:00:40Z"), Duration::from_secs(20));
    assert_eq!(instance.ends, at("2026-11-27T12:01:20Z"));
    // A second restart without a heartbeat between them.
    instance.extend(at("2026-11-27T12:01:10Z"), Duration::from_secs(20));
    assert_eq!(instance.ends, at("2026-11-27T12:01:20Z"));
    instance.renew(at("2026-11-27T12:01:15Z"));
    assert_eq!(instance.ends, at("2026-11-27T12:02:15Z"));
    // A long time down: the TTL is the bound.
    instance.extend(at("2026-11-28T12:00:00Z"), Duration::from_hours(23));
    assert_eq!(instance.ends, at("2026-11-28T12:00:10Z"));
}

#[tokio::test]
async fn lease_that_ended_while_no_server_ran_lasts_for_the_time_to_reconnect() {
    let directory = Directory::new();
    let store = directory.open().unwrap();
    let brief = Registration { ttl: Some(Ttl::new(Ttl::MIN).unwrap()), ..registration(1) };
    commit(&store, Command::Register(brief)).await;
    drop(store);
    // A second later by the file: as if the machine had been off.
    let text = fs::read_to_string(directory.journal()).unwrap();
    let mut aged = Vec::new();
    for line in text.lines() {
        let mut value: serde_json::Value = serde_json::from_str(&line[9..]).unwrap();
        if let Some(put) = value.pointer_mut("/records/0/put/endpoint") {
            put["last_heartbeat"] = "2020-01-01T00:00:00Z".into();
            value["at"] = "2020-01-01T00:00:00Z".into();
        }
        if value.get("offset").is_some() {
            value["offset"] = aged.len().into();
        }
        aged.extend(encode(&value));
    }
    fs::write(directory.journal(), aged).unwrap();
    let store = directory.open().unwrap();
    assert_eq!(ports(&store).await, [1]);
    commit(&store, Command::Heartbeat(registration(1).id().into())).await;
}

/// The files were written by the first version of the format: each later one reads them.
#[tokio::test]
async fn first_version_of_the_format_is_read() {
    let directory = Directory::new();
    let files =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/memory/journal/recovery/format-1");
    for entry in fs::read_dir(files).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, directory.0.path().join(path.file_name().unwrap())).unwrap();
    }
    let store = directory.open().unwrap();
    assert_eq!(ports(&store).await, [1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 5432]);
    let (endpoints, ..) = reset(&store).await;
    let find = |port| endpoints.iter().find(|endpoint| endpoint.port == port).unwrap();
    assert_eq!(find(4).health_reason, "refused");
    let db = find(5432);
    assert_eq!(db.incarnation, Some(portolan_core::Incarnation::new(2)));
    assert_eq!((db.addresses.len(), db.metadata.get("region")), (1, Some("eu")));
    // The incarnation that was replaced is still fenced.
    let fenced = crate::CommandTarget {
        id: db.id.clone(),
        incarnation: Some(portolan_core::Incarnation::new(1)),
    };
    let outcome =
        store.commit(&[Command::Heartbeat(fenced)], &suite::api()).await.outcomes.remove(0);
    assert!(matches!(outcome, Err(crate::RegistryError::AnotherIncarnation { .. })), "{outcome:?}");
    // What this version adds is not in a file of the first one.
    settings::set(&store, 1).await;
    drop(store);
    for name in directory.files() {
        let text = fs::read_to_string(directory.0.path().join(&name)).unwrap();
        let has_settings = text.lines().skip(1).any(|line| line.contains("\"settings\""));
        assert!(
            !(has_settings && text.lines().next().unwrap().contains("\"version\":1")),
            "{name}"
        );
    }
    assert_eq!(settings::workers(&directory.open().unwrap()).await, Some(1));
}
