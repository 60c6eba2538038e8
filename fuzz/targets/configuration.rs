//! `portolan.yaml`, a flag and a variable: the first line is `key=value`, the rest is the file.
//! Accepted settings can be shown and survive a round trip; an error names its place.

#![no_main]

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use portolan_config_manager::{ConfigError, Loaded};
use portolan_server::Settings;
use tempfile::TempDir;

thread_local! {
    static FOLDER: TempDir = tempfile::tempdir().expect("a folder");
}

fuzz_target!(|data: &[u8]| FOLDER.with(|folder| {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (line, file) = data.split_at(end);
    let path = folder.path().join("portolan.yaml");
    fs::write(&path, file).expect("room for a file");
    let loaded = taken(Settings::loader([path]).load());
    loaded.iter().for_each(|loaded| check(loaded, folder.path()));

    let line = String::from_utf8_lossy(line);
    let (key, value) = line.split_once('=').unwrap_or((&line, ""));
    if let Some(loaded) = taken(Settings::loader([]).flag("--set", key, value).load()) {
        check(&loaded, folder.path());
    }
    let variable = format!("PORTOLAN_{key}");
    if let Some(loaded) =
        taken(Settings::loader([]).environment([(variable.into(), value.to_owned().into())]).load())
    {
        check(&loaded, folder.path());
    }
}));

fn taken(loaded: Result<Loaded<Settings>, ConfigError>) -> Option<Loaded<Settings>> {
    loaded.inspect_err(check_error).ok()
}

/// Every component validates its section.
fn check(loaded: &Loaded<Settings>, folder: &Path) {
    let Settings { service_registry, broadcast, discovery, .. } = &loaded.value;
    _ = service_registry.validate().inspect_err(check_error);
    _ = broadcast.validate().inspect_err(check_error);
    _ = discovery.validate().inspect_err(check_error);
    let settings = loaded.settings().expect("settings can be shown");
    for secret in settings.iter().filter(|s| s.path == "token" || s.path == "broadcast.key") {
        assert!(secret.value.is_null() || secret.value == "(set, not shown)");
    }
    check_written(loaded, folder);
}

/// Checks the round trip through JSON, which is valid YAML.
fn check_written(loaded: &Loaded<Settings>, folder: &Path) {
    let path: PathBuf = folder.join("written.yaml");
    let json = serde_json::to_string(&loaded.value).expect("settings can be written");
    fs::write(&path, &json).expect("room for a file");
    match Settings::loader([path]).load() {
        Ok(again) => assert_eq!(again.value, loaded.value, "{json}"),
        Err(error) => panic!("{error}\n{json}"),
    }
}

/// Checks that an error is short and has no control characters: it is printed and may contain text
/// of the file.
fn check_error(error: &impl Display) {
    let error = error.to_string();
    let control = |c: char| c.is_control() && c != '\n';
    assert!(!error.is_empty() && !error.contains(control), "{error:?}");
}
