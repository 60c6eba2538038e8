use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::*;
use crate::Loader;

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    address: String,
    retries: u32,
    level: Option<String>,
    ports: Vec<u16>,
    token: Option<String>,
    key_file: Option<String>,
    timeouts: Timeouts,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Timeouts {
    connect: u32,
    read: u32,
}

const LIVE: Effect = Effect::Live { by: "test" };
const RULES: SettingRules = SettingRules(&[
    SettingRule { path: "retries", effect: LIVE },
    SettingRule { path: "level", effect: LIVE },
    SettingRule { path: "ports", effect: LIVE },
    SettingRule { path: "timeouts", effect: LIVE },
    SettingRule {
        path: "timeouts.connect",
        effect: Effect::Restart { reason: "sockets are open" },
    },
    SettingRule { path: "token", effect: Effect::LiveFromFiles { by: "test" } },
    SettingRule { path: "key_file", effect: Effect::LiveFromFiles { by: "test" } },
]);

fn load(file: &Path, requested: &serde_json::Value) -> Result<crate::Loaded<Settings>, Unusable> {
    let unusable = |message: String| Unusable { message, remedy: None };
    let variables = [("PORTOLAN_LEVEL".into(), "info".into())];
    let loaded = Loader::<Settings>::new()
        .file(file)
        .requested(requested.clone())
        .environment(variables)
        .secret("token")
        .load()
        .map_err(|error| unusable(error.to_string()))?;
    match loaded.value.retries > 9 {
        true => Err(unusable("retries: more than 9".to_owned())),
        false => Ok(loaded),
    }
}

struct Fixture {
    directory: tempfile::TempDir,
    manager: ConfigManager<Settings>,
}

impl Fixture {
    fn new(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("portolan.yaml");
        std::fs::write(&file, text).unwrap();
        let loaded = load(&file, &serde_json::Value::Null).unwrap();
        let source = move |requested: &serde_json::Value| load(&file, requested);
        Self { directory, manager: ConfigManager::new(loaded, RULES, source) }
    }

    fn write(&self, text: &str) {
        std::fs::write(self.directory.path().join("portolan.yaml"), text).unwrap();
    }

    fn reload(&self) -> Result<Applied, ChangeRefused> {
        self.manager.reload(Author::File)
    }

    fn patch(&self, patch: &serde_json::Value) -> Result<Applied, ChangeRefused> {
        self.manager.patch(patch, None, Author::Client("ann".to_owned()))
    }

    /// The change must be refused for this reason, and change nothing.
    #[track_caller]
    fn refused(&self, result: Result<Applied, ChangeRefused>, reason: &str) {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        assert_eq!(self.manager.current().number, 1);
        assert_eq!(self.manager.current().loaded.value.retries, 3);
        assert_eq!(self.manager.history().len(), 1);
    }
}

#[test]
fn update_config_puts_new_values_in_force() {
    let it = Fixture::new("retries: 3");
    let followed = it.manager.follow();
    it.write("retries: 4");
    let applied = it.reload().unwrap();
    assert_eq!((applied.version, applied.changed[0].path.as_str()), (2, "retries"));
    assert!(followed.has_changed().unwrap());
    assert_eq!(followed.borrow().loaded.value.retries, 4);
    assert_eq!(it.reload().unwrap(), Applied { version: 2, changed: Vec::new() });
}

#[test]
fn update_config_that_is_invalid_leaves_the_old_values_in_force() {
    let it = Fixture::new("retries: 3");
    for (text, reason) in [
        ("retries: 10", "more than 9"),
        ("retrys: 4", "did you mean `retries`?"),
        ("retries: x", "portolan.yaml:1:10"),
        ("retries: 4\ntimeouts: {read: ", "portolan.yaml:2"),
    ] {
        it.write(text);
        it.refused(it.reload(), reason);
        assert!(it.manager.refused().unwrap().contains(reason));
    }
    it.write("retries: 3");
    it.reload().unwrap();
    assert_eq!(it.manager.refused(), None, "the file is in force again");
}

#[test]
fn update_config_that_is_locked_is_refused_with_the_holder() {
    let it = Fixture::new("retries: 3");
    it.manager.lock("ann", "migration").unwrap();
    it.write("retries: 4");
    it.refused(it.reload(), "locked by ann: migration");
    it.refused(it.patch(&json!({"retries": 4})), "locked by ann");
}

#[test]
fn lock_and_unlock() {
    let it = Fixture::new("retries: 3");
    assert_eq!(it.manager.unlock(), Err(ChangeRefused::NotLocked));
    it.manager.lock("ann", "migration").unwrap();
    it.manager.lock("ann", "a longer migration").unwrap();
    assert!(it.manager.lock("ben", "mine").unwrap_err().to_string().contains("ann"));
    it.write("retries: 4");
    let control: &dyn ConfigControl = &it.manager;
    assert_eq!(control.unlock().unwrap().reason, "a longer migration");
    assert_eq!(it.manager.current().loaded.value.retries, 4, "what changed meanwhile");
}

#[test]
fn update_partial_changes_one_field() {
    let it = Fixture::new("retries: 3\ntimeouts: {read: 5}\nports: [1]");
    let applied = it.patch(&json!({"retries": 4})).unwrap();
    assert_eq!(applied.changed.len(), 1);
    let current = it.manager.current();
    let expected =
        Settings { retries: 4, ports: vec![1], level: Some("info".into()), ..Settings::default() };
    let timeouts = Timeouts { connect: 0, read: 5 };
    assert_eq!(current.loaded.value, Settings { timeouts, ..expected });
    assert_eq!(current.loaded.origin("retries"), crate::Origin::Request);
}

#[test]
fn update_partial_changes_several_fields() {
    let it = Fixture::new("retries: 3");
    let applied =
        it.patch(&json!({"retries": 4, "timeouts": {"read": 7}, "ports": [1, 2]})).unwrap();
    let paths: Vec<_> = applied.changed.iter().map(|change| change.path.as_str()).collect();
    assert_eq!(paths, ["ports", "retries", "timeouts.read"]);
}

#[test]
fn update_partial_that_is_invalid_changes_nothing() {
    let it = Fixture::new("retries: 3");
    it.refused(it.patch(&json!({"retries": 10})), "more than 9");
    it.refused(it.patch(&json!({"retries": 4, "retrys": 5})), "did you mean `retries`?");
    it.refused(it.patch(&json!({"retries": 4, "ports": ["x"]})), "ports[0]");
    it.refused(it.patch(&json!([1])), "not a JSON object");
}

#[test]
fn request_is_above_the_file_and_null_takes_it_back() {
    let it = Fixture::new("retries: 3");
    it.patch(&json!({"retries": 4})).unwrap();
    it.write("retries: 5");
    it.reload().unwrap();
    assert_eq!(it.manager.current().loaded.value.retries, 4, "the request is stronger");
    it.patch(&json!({"retries": null})).unwrap();
    assert_eq!(it.manager.current().loaded.value.retries, 5);
}

#[test]
fn request_that_would_have_no_effect_is_refused_with_what_overrides_it() {
    let it = Fixture::new("retries: 3");
    it.refused(
        it.patch(&json!({"retries": 4, "level": "debug"})),
        "level: environment variable PORTOLAN_LEVEL overrides it",
    );
}

#[test]
fn settings_that_need_a_restart_are_refused_with_the_reason_and_nothing_is_applied() {
    let it = Fixture::new("retries: 3");
    it.write("retries: 4\naddress: x\ntimeouts: {connect: 1, read: 1}");
    let result = it.reload();
    let Err(ChangeRefused::Settings(settings)) = &result else { panic!("{result:?}") };
    let paths: Vec<_> = settings.iter().map(|setting| setting.path.as_str()).collect();
    assert_eq!(paths, ["address", "timeouts.connect"]);
    it.refused(result, "timeouts.connect: it needs a restart: sockets are open");
}

#[test]
fn secrets_and_files_are_not_taken_from_requests_and_not_shown() {
    let it = Fixture::new("retries: 3\ntoken: old-secret");
    it.refused(it.patch(&json!({"retries": 4, "token": "x"})), "token: it is a secret");
    it.refused(it.patch(&json!({"key_file": "/etc/shadow"})), "key_file: it is a secret or names");
    it.write("retries: 3\ntoken: new-secret");
    it.reload().unwrap();
    let shown = serde_json::to_string(&it.manager.history()).unwrap()
        + &serde_json::to_string(&it.manager.document()).unwrap();
    assert!(shown.contains("token") && !shown.contains("secret\""), "{shown}");
}

#[test]
fn callback_is_told_of_old_and_new_values() {
    let it = Fixture::new("retries: 3");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    it.manager.on_change("test", move |old, new| {
        sink.lock().push((old.retries, new.retries));
        Ok(())
    });
    it.patch(&json!({"retries": 4})).unwrap();
    it.patch(&json!({"retries": 4})).unwrap();
    assert_eq!(*seen.lock(), [(3, 4)], "not for a change that changes nothing");
}

#[test]
fn callback_that_vetoes_the_change_keeps_everything_as_it_was() {
    let it = Fixture::new("retries: 3");
    let followed = it.manager.follow();
    it.manager.on_change("first", |_, _| Ok(()));
    it.manager.on_change("pool", |_, new| match new.retries {
        4 => Err(Veto("4 is unlucky".to_owned())),
        _ => Ok(()),
    });
    it.refused(it.patch(&json!({"retries": 4})), "pool refuses the change: 4 is unlucky");
    it.write("retries: 4");
    it.refused(it.reload(), "4 is unlucky");
    assert!(!followed.has_changed().unwrap());
    it.patch(&json!({"retries": 5})).unwrap();
}

#[test]
fn wrong_version_changes_nothing() {
    let it = Fixture::new("retries: 3");
    let patch = |version| {
        let author = Author::Program("test".to_owned());
        it.manager.patch(&json!({"retries": 4}), Some(version), author)
    };
    it.refused(patch(7), "version 1, and not 7");
    patch(1).unwrap();
    assert!(patch(1).is_err(), "it has version 2 now");
}

#[test]
fn components_follow_the_latest_version_only() {
    let it = Fixture::new("retries: 3");
    let mut followed = it.manager.follow();
    followed.mark_unchanged();
    for retries in [4, 5, 6] {
        it.patch(&json!({"retries": retries})).unwrap();
    }
    assert_eq!(followed.borrow_and_update().loaded.value.retries, 6);
}

#[test]
fn history_names_author_time_and_values_and_is_bounded() {
    let it = Fixture::new("retries: 3");
    it.patch(&json!({"retries": 4})).unwrap();
    let entry = it.manager.history().pop().unwrap();
    assert_eq!((entry.version, entry.author.to_string().as_str()), (2, "client ann"));
    let change = &entry.changed[0];
    assert_eq!((&change.old, &change.new), (&json!(3), &json!(4)));
    for number in 0..2 * MAX_HISTORY {
        it.patch(&json!({"retries": number % 2})).unwrap();
    }
    let history = it.manager.history();
    assert_eq!(history.len(), MAX_HISTORY);
    assert_eq!(history.last().unwrap().version, it.manager.current().number);
}
