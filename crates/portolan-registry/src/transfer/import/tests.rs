use std::path::Path;

use jiff::SignedDuration;
use portolan_core::{HealthReport, HealthStatus, Host, Registration, ServiceEndpoint};

use super::*;
use crate::store::{InspectError, Inspection, inspect};

fn in_directory(path: &Path) -> RegistryConfig {
    RegistryConfig { data_dir: Some(path.to_owned()), ..RegistryConfig::default() }
}

/// Runs a registry over a store for as long as the function does.
async fn with_registry(config: &RegistryConfig, during: impl AsyncFnOnce(&Registry)) {
    let (task, registry) = open(config, Metrics::new()).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(task.run(async { drop(stopped.await) }));
    during(&registry).await;
    drop(stop);
    running.await.unwrap();
}

async fn register(registry: &Registry, port: u16) {
    let registration = Registration::new("api".parse().unwrap(), Host::loopback(), port);
    registry.register(registration, CommandOrigin::local()).await.unwrap();
}

async fn exported(config: &RegistryConfig, age: SignedDuration) -> Export {
    let Inspection { problems, .. } = inspect(config).await.unwrap();
    assert_eq!(problems, []);
    Export::new(inspect(config).await.unwrap(), Timestamp::now() - age)
}

/// What does not change when an instance is imported.
fn kept(endpoint: &ServiceEndpoint) -> ServiceEndpoint {
    let (last_heartbeat, revision) = (Timestamp::UNIX_EPOCH, Default::default());
    ServiceEndpoint { last_heartbeat, revision, ..endpoint.clone() }
}

#[tokio::test]
async fn store_is_moved_and_the_import_can_be_repeated() {
    let directories = tempfile::tempdir().unwrap();
    let (old, new) = ["old", "new"].map(|it| in_directory(&directories.path().join(it))).into();
    let mut before = Vec::new();
    with_registry(&old, async |registry| {
        for port in 8080..8083 {
            register(registry, port).await;
        }
        let report = HealthReport::new(HealthStatus::Passing, "ok");
        registry.update_health(registry.list()[0].id.clone(), report).await.unwrap();
        before = registry.list().iter().map(|endpoint| kept(endpoint)).collect();
    })
    .await;
    let export = exported(&old, SignedDuration::ZERO).await;
    let report = import(&new, export.clone()).await.unwrap();
    assert_eq!((report.imported, report.existing, report.refused.len()), (3, 0, 0));
    let report = import(&new, export).await.unwrap();
    assert_eq!((report.imported, report.existing, report.refused.len()), (0, 3, 0));
    let moved = inspect(&new).await.unwrap().records;
    let moved: Vec<_> = moved.iter().map(|record| kept(&record.endpoint)).collect();
    assert_eq!(moved, before);
}

#[tokio::test]
async fn health_of_an_old_export_is_unknown() {
    let directories = tempfile::tempdir().unwrap();
    let (old, new) = ["old", "new"].map(|it| in_directory(&directories.path().join(it))).into();
    with_registry(&old, async |registry| {
        register(registry, 8080).await;
        let report = HealthReport::new(HealthStatus::Passing, "ok");
        registry.update_health(registry.list()[0].id.clone(), report).await.unwrap();
    })
    .await;
    let export = exported(&old, SignedDuration::from_hours(24)).await;
    import(&new, export).await.unwrap();
    let imported = inspect(&new).await.unwrap().records;
    assert_eq!(imported[0].endpoint.health, HealthStatus::Unknown);
    assert!(imported[0].endpoint.health_reason.contains("not heard of since"));
}

#[tokio::test]
async fn directory_of_a_running_server_is_read_and_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let config = in_directory(directory.path());
    with_registry(&config, async |registry| {
        register(registry, 8080).await;
        let inspection = inspect(&config).await.unwrap();
        assert_eq!(inspection.records.len(), 1);
        assert_eq!(inspection.servers, [format!("process {}", std::process::id())]);
        assert_eq!(inspection.problems, []);
        let error = import(&config, Export::new(inspection, Timestamp::now())).await.unwrap_err();
        assert!(error.to_string().contains("is in use by process"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn torn_journal_is_reported_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let config = in_directory(directory.path());
    with_registry(&config, async |registry| register(registry, 8080).await).await;
    let journal = directory.path().join("journal-00000001");
    let mut torn = std::fs::read(&journal).unwrap();
    torn.extend_from_slice(b"half a li");
    std::fs::write(&journal, &torn).unwrap();
    let inspection = inspect(&config).await.unwrap();
    assert_eq!(inspection.records.len(), 1);
    assert!(inspection.problems[0].problem.contains("9 bytes"), "{:?}", inspection.problems);
    assert_eq!(std::fs::read(&journal).unwrap(), torn);
}

#[tokio::test]
async fn memory_without_a_directory_is_neither_read_nor_written() {
    let config = RegistryConfig::default();
    assert!(matches!(inspect(&config).await, Err(InspectError::NothingKept(_))));
    let directory = tempfile::tempdir().unwrap();
    let missing = in_directory(&directory.path().join("missing"));
    assert!(matches!(inspect(&missing).await, Err(InspectError::DataDir(_))));
    assert!(!directory.path().join("missing").exists());
    let source = in_directory(&directory.path().join("source"));
    with_registry(&source, async |registry| register(registry, 8080).await).await;
    let export = exported(&source, SignedDuration::ZERO).await;
    assert!(matches!(import(&config, export).await, Err(ImportError::NothingKept(_))));
}

#[tokio::test]
async fn full_store_ends_the_import() {
    let directories = tempfile::tempdir().unwrap();
    let (old, new) = ["old", "new"].map(|it| in_directory(&directories.path().join(it))).into();
    with_registry(&old, async |registry| {
        for port in 8080..8083 {
            register(registry, port).await;
        }
    })
    .await;
    let new = RegistryConfig { max_endpoints: 2, ..new };
    let report = import(&new, exported(&old, SignedDuration::ZERO).await).await.unwrap();
    assert_eq!(report.imported, 2);
    assert_eq!(report.ended, Some(RegistryError::Full { limit: 2 }));
}

#[tokio::test]
async fn settings_are_imported_with_their_versions_and_replace_none() {
    use crate::{SettingsChange, SettingsKey};
    let key =
        |name: &str| SettingsKey { scope: "shop".parse().unwrap(), name: name.parse().unwrap() };
    let set = async |registry: &Registry, name: &str, number: u64| {
        let change = SettingsChange::Set(serde_json::json!({"number": number}));
        registry
            .settings()
            .change(&key(name), change, None, &CommandOrigin::local())
            .await
            .unwrap();
    };
    let directories = tempfile::tempdir().unwrap();
    let old = in_directory(&directories.path().join("old"));
    let new = in_directory(&directories.path().join("new"));
    with_registry(&old, async |registry| {
        for number in 1..=3 {
            set(registry, "api", number).await;
        }
        set(registry, "web", 1).await;
    })
    .await;
    with_registry(&new, async |registry| set(registry, "web", 7).await).await;
    let mut export = exported(&old, SignedDuration::ZERO).await;
    assert_eq!(export.settings.len(), 2);
    let mut wrong = (*export.settings[0]).clone();
    (wrong.key, wrong.versions) = (key("wrong"), Vec::new());
    export.settings.push(wrong.into());
    let report = import(&new, export.clone()).await.unwrap();
    assert_eq!((report.settings_imported, report.settings_existing), (1, 1));
    assert_eq!(report.settings_refused.len(), 1);
    let found = inspect(&new).await.unwrap().settings;
    assert_eq!(found[0], export.settings[0]);
    assert_eq!(found[1].value().unwrap()["number"], 7);
}
