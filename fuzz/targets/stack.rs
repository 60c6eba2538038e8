//! The stack in `portolan.yaml`: a valid stack can be ordered, each service after its needs.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::fs;

use libfuzzer_sys::fuzz_target;
use portolan_config_manager::{ConfigError, Loader};
use portolan_core::{Host, Pools, ServiceName, Ttl};
use portolan_server::STACK_KEYS;
use portolan_supervisor::child::WindowSize;
use portolan_supervisor::stack::{Stack, StackContext, StackFile};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

/// No settings: `configuration` fuzzes those.
#[derive(Default, Serialize, Deserialize)]
struct Nothing {}

thread_local! {
    static FOLDER: TempDir = tempfile::tempdir().expect("a folder");
}

fuzz_target!(|data: &[u8]| FOLDER.with(|folder| {
    let path = folder.path().join("portolan.yaml");
    fs::write(&path, data).expect("room for a file");
    let loader = STACK_KEYS.into_iter().fold(Loader::<Nothing>::new(), Loader::foreign);
    let loaded = match loader.file(path).load() {
        Ok(loaded) => loaded,
        Err(error) => return check_error(&error),
    };
    let document = loaded.document;
    let read = || -> Result<StackFile, ConfigError> {
        let name = document.section("name")?;
        let services = document.section("services")?.unwrap_or_default();
        Ok(StackFile { name, services })
    };
    match read() {
        Ok(stack) => plan(&stack),
        Err(error) => check_error(&error),
    }
}));

fn plan(file: &StackFile) {
    let around = StackContext {
        scope: file.name.clone().unwrap_or_default(),
        folder: "/srv".into(),
        host: Host::loopback(),
        ttl: Ttl::DEFAULT,
        environment: BTreeMap::new(),
        pools: Pools::default(),
        url_schemes: BTreeSet::new(),
        window: tokio::sync::watch::channel(WindowSize::default()).1,
    };
    let stack = match (file.validate(), Stack::plan(file, &around)) {
        (Ok(()), Ok(stack)) => stack,
        (Err(error), Err(same)) => {
            assert_eq!(error, same);
            return check_error(&error);
        }
        (valid, planned) => panic!("{valid:?}, and yet {planned:?}"),
    };
    let rows = stack.rows().borrow().clone();
    let instances = file.services.values().map(|entry| usize::from(entry.instances));
    assert_eq!(rows.len(), instances.sum::<usize>());
    let place = |name: &ServiceName| rows.iter().position(|row| row.service == *name);
    for (name, entry) in &file.services {
        for need in entry.needs.names().filter(|need| file.services.contains_key(*need)) {
            assert!(place(need) < place(name), "{need} comes after {name}, which needs it");
        }
    }
}

/// Checks that an error is short and has no control characters: it is printed and may contain text
/// of the file.
fn check_error(error: &impl Display) {
    let error = error.to_string();
    let control = |c: char| c.is_control() && c != '\n';
    assert!(!error.is_empty() && !error.contains(control), "{error:?}");
}
