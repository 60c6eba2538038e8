//! Settings of services in the journal and in snapshots.

use serde_json::{Value, json};

use super::*;
use crate::store::{Replaced, SettingsStore};
use crate::{SettingsAction, SettingsEntry, SettingsKey, SettingsRecord};

fn key(name: &str) -> SettingsKey {
    SettingsKey { scope: portolan_core::Scope::default(), name: name.parse().unwrap() }
}

fn record(name: &str, version: u64, value: Value) -> Arc<SettingsRecord> {
    let (author, action) = ("ann".to_owned(), SettingsAction::Set);
    let at = Timestamp::UNIX_EPOCH;
    let entry = SettingsEntry { version, at, author, action, from: None, value: Some(value) };
    let (key, versions) = (key(name), vec![Arc::new(entry)]);
    Arc::new(SettingsRecord { key, schema: None, versions })
}

/// Sets the workers of the service `api` to a number, which is the version too.
pub(super) async fn set(store: &Memory, workers: u64) {
    let record = record("api", workers, json!({"workers": workers}));
    assert_eq!(store.replace(workers - 1, record).await.unwrap(), Replaced::Done);
}

pub(super) async fn workers(store: &Memory) -> Option<u64> {
    let stored = store.load(&key("api")).await.unwrap();
    stored.record?.value()?["workers"].as_u64()
}

#[tokio::test]
async fn acknowledged_settings_survive_in_journal_and_snapshot() {
    let directory = Directory::new();
    for workers in 1..=3 {
        let store = directory.open().unwrap();
        set(&store, workers).await;
        let conflict = store.replace(workers - 1, record("api", workers, json!({}))).await;
        assert_eq!(conflict.unwrap(), Replaced::Conflict);
        drop(store);
        assert_eq!(self::workers(&directory.open().unwrap()).await, Some(workers));
    }
    // Each record is longer than a journal may be, so that snapshots follow each other.
    let store = Memory::open_with(&directory.config(), 1 << 10).unwrap();
    for number in 0..20 {
        let long = json!({"pad": "x".repeat(2 << 10)});
        store.replace(0, record(&format!("long-{number}"), 1, long)).await.unwrap();
    }
    register(&store, 8080).await;
    drop(store);
    assert!(directory.files().iter().any(|file| file.starts_with("snapshot-")));
    let store = directory.open().unwrap();
    assert_eq!(workers(&store).await, Some(3));
    assert_eq!(store.list().await.unwrap().len(), 21);
    assert_eq!(ports(&store).await, [8080]);
}

#[tokio::test]
async fn settings_that_a_crash_has_torn_are_as_they_were() {
    let directory = Directory::new();
    let store = directory.open().unwrap();
    set(&store, 1).await;
    let intact = fs::metadata(directory.journal()).unwrap().len();
    set(&store, 2).await;
    drop(store);
    let length = fs::metadata(directory.journal()).unwrap().len();
    for cut in [intact + 1, intact + 40, length - 1] {
        let torn = directory.copy();
        fs::File::options().write(true).open(torn.journal()).unwrap().set_len(cut).unwrap();
        assert_eq!(workers(&torn.open().unwrap()).await, Some(1), "{cut} of {length}");
    }
    assert_eq!(workers(&directory.open().unwrap()).await, Some(2));
}
