//! A data directory that is removed, replaced or written to while a server uses it.

use std::io;
use std::time::Duration;

use portolan_core::Remedy;
use tokio::time::timeout;

use super::super::*;
use super::*;
use crate::{CommandOrigin, CommandOutcome, RegistryError};

async fn put(store: &Memory, port: u16) -> Result<CommandOutcome, RegistryError> {
    let command = Command::Register(registration(port));
    store.commit(&[command], &CommandOrigin::local()).await.outcomes.remove(0)
}

/// Waits until the store accepts writes, or rejects them with this text.
async fn wait(store: &Memory, rejected: Option<&str>) {
    let mut read_only = store.read_only();
    let is_so = |reason: &Option<Arc<str>>| match (reason, rejected) {
        (Some(reason), Some(text)) => reason.contains(text),
        (reason, text) => reason.is_some() == text.is_some(),
    };
    let found = timeout(Duration::from_secs(30), read_only.wait_for(is_so)).await;
    found
        .unwrap_or_else(|_| panic!("never {rejected:?}: {:?}", store.read_only().borrow()))
        .unwrap();
}

/// What a removal does, and what the reason says then.
type Removal = (fn(&Path), &'static str);

const REMOVALS: [Removal; 5] = [
    (|path| fs::remove_dir_all(path).unwrap(), "LOCK was removed or replaced"),
    (|path| fs::remove_file(path.join("LOCK")).unwrap(), "LOCK was removed or replaced"),
    (
        |path| fs::remove_file(path.join("journal-00000001")).unwrap(),
        "journal-00000001 was removed or replaced",
    ),
    (|path| fs::rename(path, path.with_extension("away")).unwrap(), "LOCK was removed or replaced"),
    // An older copy is written over it in place.
    (
        |path| {
            let journal = path.join("journal-00000001");
            let first = lines(&journal).remove(0);
            fs::write(journal, first).unwrap();
        },
        "something else has written to it",
    ),
];

#[tokio::test]
async fn nothing_is_acknowledged_that_would_go_to_a_removed_file() {
    for (remove, reason) in REMOVALS {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        let config = RegistryConfig { data_dir: Some(path.clone()), ..RegistryConfig::default() };
        let store = Memory::open(&config).unwrap();
        put(&store, 1).await.unwrap();
        remove(&path);
        // The next write, or the one after the store is accepted again because only a file was missing.
        if let Err(error) = put(&store, 2).await {
            let RegistryError::ReadOnly { reason: found } = &error else { panic!("{error}") };
            assert!(found.contains(reason), "{found}");
        }
        // An empty directory is filled again.
        if !path.exists() {
            wait(&store, Some("No such file or directory")).await;
            fs::create_dir(&path).unwrap();
        }
        wait(&store, None).await;
        put(&store, 2).await.unwrap();
        drop(store);
        let again = Memory::open(&config).unwrap();
        assert_eq!(ports(&again).await, [1, 2], "{reason}");
    }
}

#[tokio::test]
async fn instance_that_a_rejected_registration_displaced_is_there_again() {
    let directory = Directory::new();
    let store = directory.open().unwrap();
    put(&store, 1).await.unwrap();
    fs::remove_dir_all(directory.0.path()).unwrap();
    let other = Some("other".parse().unwrap());
    let displacing = Command::Register(Registration { id: other, ..registration(1) });
    let outcomes = store.commit(&[displacing], &CommandOrigin::local()).await.outcomes;
    assert!(matches!(outcomes[0], Err(RegistryError::ReadOnly { .. })), "{outcomes:?}");
    let (endpoints, ..) = reset(&store).await;
    assert_eq!((endpoints.len(), &endpoints[0].id), (1, &registration(1).id()));
    fs::create_dir(directory.0.path()).unwrap();
    wait(&store, None).await;
}

#[tokio::test]
async fn removal_is_noticed_without_a_write() {
    let directory = Directory::new();
    let store = directory.open().unwrap();
    wait(&store, None).await;
    fs::remove_dir_all(directory.0.path()).unwrap();
    wait(&store, Some("LOCK was removed or replaced")).await;
    fs::create_dir(directory.0.path()).unwrap();
    wait(&store, None).await;
}

#[tokio::test]
async fn files_of_another_server_are_not_touched() {
    let directory = Directory::new();
    let store = directory.open().unwrap();
    put(&store, 1).await.unwrap();
    // Another server can start once the lock is gone.
    fs::remove_file(directory.0.path().join("LOCK")).unwrap();
    let other = directory.open().unwrap();
    put(&other, 2).await.unwrap();
    wait(&store, Some("is in use by process")).await;
    drop(other);
    wait(&store, Some("has the files of another server now")).await;
    drop(store);
    assert_eq!(directory.ports().await, [1, 2]);
}

#[tokio::test]
async fn directory_in_the_place_of_the_removed_one_is_not_touched_if_it_is_used() {
    let (directory, other) = (Directory::new(), Directory::new());
    put(&other.open().unwrap(), 7).await.unwrap();
    let store = directory.open().unwrap();
    put(&store, 1).await.unwrap();
    fs::remove_dir_all(directory.0.path()).unwrap();
    fs::rename(other.0.path(), directory.0.path()).unwrap();
    wait(&store, Some("has the files of another server now")).await;
    drop(store);
    assert_eq!(directory.ports().await, [7]);
}

#[test]
fn every_error_of_the_system_has_a_remedy_that_fits() {
    let kinds = [
        io::ErrorKind::PermissionDenied,
        io::ErrorKind::NotFound,
        io::ErrorKind::AlreadyExists,
        io::ErrorKind::ReadOnlyFilesystem,
        io::ErrorKind::StorageFull,
        io::ErrorKind::Other,
    ];
    let path = Path::new("/var/lib/portolan");
    let texts = kinds.map(|kind| DataDirError::io("create", path, kind.into()).with_remedy());
    let path = path.to_owned();
    let removed = DataDirError::Removed { path: path.join("LOCK") }.with_remedy();
    let overwritten =
        DataDirError::Overwritten { path: path.join("journal-00000001"), found: 100, written: 900 };
    let foreign = DataDirError::Foreign { path }.with_remedy();
    insta::assert_snapshot!(
        [&texts[..], &[removed, overwritten.with_remedy(), foreign]].concat().join("\n")
    );
}
