//! Settings of services, of stores that keep them.

use std::sync::Weak;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::*;
use crate::{ServiceSettings, SettingsChange, SettingsError, SettingsKey};

/// How many writers change the same settings at the same time.
const WRITERS: usize = 100;

pub(super) async fn run(open: impl Fn() -> StoreParts) {
    let case = Case::open(&open).await;
    if case.store.settings().is_none() {
        let error = settings(&case).get(&key("api")).await.unwrap_err();
        assert!(matches!(error, SettingsError::NotKept { .. }), "{error}");
        return;
    }
    concurrent_writers_lose_no_update(case).await;
    change_is_made_on_the_expected_version_only(Case::open(&open).await).await;
    watch_shows_the_newest_version(Case::open(&open).await).await;
    imported_settings_replace_none(Case::open(&open).await).await;
}

fn settings(case: &Case) -> ServiceSettings {
    let store: Weak<dyn Store> = Arc::downgrade(&case.store);
    ServiceSettings::new(store, case.store.name())
}

fn key(name: &str) -> SettingsKey {
    SettingsKey { scope: "shop".parse().unwrap(), name: name.parse().unwrap() }
}

fn count(value: Option<&Value>) -> u64 {
    value.map_or(0, |value| value["count"].as_u64().unwrap())
}

/// Each reads a number and writes the next one, until its compare-and-set succeeds.
async fn concurrent_writers_lose_no_update(case: Case) {
    let settings = settings(&case);
    let increment = async || loop {
        let known = settings.get(&key("api")).await.unwrap();
        let known = known.as_deref();
        let next = json!({"count": count(known.and_then(|known| known.value())) + 1});
        let expected = Some(known.map_or(0, |known| known.version()));
        match settings.change(&key("api"), SettingsChange::Set(next), expected, &api()).await {
            Ok(outcome) => break assert!(outcome.changed),
            Err(SettingsError::Conflict { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    };
    join_all((0..WRITERS).map(|_| increment())).await;
    let record = settings.get(&key("api")).await.unwrap().unwrap();
    assert_eq!((count(record.value()), record.version()), (100, 100));

    // Without an expected version, none of the members is lost.
    let patch = async |number: usize| {
        let patch = SettingsChange::Patch(json!({format!("m{number}"): number}));
        settings.change(&key("web"), patch, None, &api()).await.unwrap();
    };
    join_all((0..20).map(patch)).await;
    let record = settings.get(&key("web")).await.unwrap().unwrap();
    assert_eq!((record.value().unwrap().as_object().unwrap().len(), record.version()), (20, 20));
    let names: Vec<_> =
        settings.list().await.unwrap().iter().map(|it| it.key.name.to_string()).collect();
    assert_eq!(names, ["api", "web"]);
}

async fn change_is_made_on_the_expected_version_only(case: Case) {
    let settings = settings(&case);
    let change = async |change, expected| {
        settings.change(&key("api"), change, expected, &api()).await.map(|it| it.record.version())
    };
    let set = |number: u64| SettingsChange::Set(json!({"count": number}));
    assert_eq!(change(set(1), Some(0)).await, Ok(1));
    assert_eq!(change(set(2), None).await, Ok(2));
    for expected in [0, 1, 3] {
        let error = change(set(9), Some(expected)).await.unwrap_err();
        assert!(matches!(error, SettingsError::Conflict { current: 2, .. }), "{error}");
    }
    assert_eq!(change(SettingsChange::Rollback(1), Some(2)).await, Ok(3));
    let record = settings.get(&key("api")).await.unwrap().unwrap();
    assert_eq!((count(record.value()), record.versions.len()), (1, 3));
    // Nothing remains to be changed, so that there is no new version.
    assert_eq!(change(set(1), Some(3)).await, Ok(3));
    assert_eq!(change(SettingsChange::Delete, None).await, Ok(4));
    assert!(settings.get(&key("api")).await.unwrap().unwrap().value().is_none());
    assert_eq!(settings.get(&key("other")).await, Ok(None));
}

async fn watch_shows_the_newest_version(case: Case) {
    let settings = settings(&case);
    let mut watch = settings.watch(key("api")).unwrap();
    assert_eq!(timeout(PROMPTLY, watch.next()).await.unwrap(), Some(None));
    for number in 1..=5 {
        for name in ["other", "api"] {
            let set = SettingsChange::Set(json!({"count": number}));
            settings.change(&key(name), set, None, &api()).await.unwrap();
        }
    }
    let mut seen = 0;
    while seen < 5 {
        let record = timeout(PROMPTLY, watch.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(record.key, key("api"));
        assert!(record.version() > seen, "{} after {seen}", record.version());
        seen = record.version();
    }
    // One that knows a version gets what is newer.
    let mut resumed = settings.watch(key("api")).unwrap().after(Some(4));
    let record = timeout(PROMPTLY, resumed.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(record.version(), 5);
}

async fn imported_settings_replace_none(case: Case) {
    let settings = settings(&case);
    let set = SettingsChange::Set(json!({"count": 1}));
    let mut record =
        (*settings.change(&key("api"), set, None, &api()).await.unwrap().record).clone();
    assert_eq!(settings.import(record.clone()).await, Ok(false));
    record.key = key("new");
    assert_eq!(settings.import(record.clone()).await, Ok(true));
    assert_eq!(*settings.get(&key("new")).await.unwrap().unwrap(), record);
}
