//! `portolan store`: the data of a registry is exported, checked and imported into another store.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use portolan_tests::{REGISTRY, TIMEOUT, TestEnv, http, isolated, wait_for};
use rustix::process::Signal;
use serde_json::Value;

const BINDER: &str = env!("CARGO_BIN_EXE_late-binder");

/// The options that select a data directory.
fn directory(name: &str) -> Vec<String> {
    vec!["--set".into(), format!("service_registry.data_dir={name}")]
}

/// Runs `portolan store` and returns what it prints on standard output.
fn store(env: &TestEnv, words: &[&str], options: &[String], exit: i32) -> Result<String> {
    let call = env.portolan(&["store"])?.args(words).args(options);
    Ok(call.run()?.exits(exit)?.stdout)
}

/// Returns the only instance of the registry, and whether the answer is complete.
fn only_instance() -> Result<(Value, bool)> {
    let answer = http::get_json(&format!("{REGISTRY}/api/v1/services?name=api"))?;
    let found = answer["services"].as_array().context("no services")?;
    ensure!(found.len() == 1, "{answer}");
    Ok((found[0].clone(), answer["incomplete"] != true))
}

/// Moves a registry from one store to another while its service runs.
fn moves(env: &TestEnv, from: &[String], to: &[String]) -> Result<()> {
    let mut server = env.quiet_registry(REGISTRY, from)?;
    let mut api = env.service("api", &["--ttl", "30s"], &[BINDER, "{port}"])?;
    api.wait_for_line("bound 8080")?;
    env.wait_registered("api", 1, TIMEOUT)?;
    let before = wait_for("api to be healthy", || {
        let (api, _) = only_instance()?;
        ensure!(api["health"] == "passing", "{api}");
        Ok(api)
    })?;
    server.signal(Signal::TERM)?;
    server.wait(TIMEOUT)?;
    store(env, &["export", "-o", "registry.jsonl"], from, 0)?;
    let imported = store(env, &["import", "registry.jsonl"], to, 0)?;
    ensure!(imported.starts_with("1 instance imported"), "{imported}");

    let _server = env.quiet_registry(REGISTRY, to)?;
    let (after, is_complete) = only_instance()?;
    ensure!(is_complete, "the registry does not know that it has everything");
    for member in ["id", "host", "registered_at", "incarnation", "health"] {
        ensure!(after[member] == before[member], "{member}: {after} after {before}");
    }
    // The agent goes on as the owner: it deregisters.
    api.signal(Signal::TERM)?;
    env.wait_registered("api", 0, TIMEOUT).map(drop)
}

#[test]
fn registry_moves_between_data_directories() {
    isolated(|env| moves(env, &directory("old"), &directory("new")));
}

#[cfg(feature = "full")]
#[test]
fn registry_moves_from_a_data_directory_to_etcd() {
    isolated(|env| {
        let _etcd = portolan_tests::etcd::start(env)?;
        let etcd = portolan_tests::etcd::options();
        moves(env, &directory("old"), &etcd)?;
        let checked: Value = serde_json::from_str(&store(env, &["check", "--json"], &etcd, 0)?)?;
        ensure!(checked["instances"] == 0 && checked["store"] == "etcd", "{checked}");
        Ok(())
    });
}

#[cfg(feature = "full")]
#[test]
fn registry_moves_from_a_data_directory_to_consul_and_damage_there_is_reported() {
    use portolan_tests::consul;
    isolated(|env| {
        let _consul = consul::start(env)?;
        moves(env, &directory("old"), &consul::options())?;
        let check = |exit| store(env, &["check", "--json"], &consul::options(), exit);
        let checked: Value = serde_json::from_str(&check(0)?)?;
        ensure!(checked["instances"] == 0 && checked["store"] == "consul", "{checked}");
        consul::ctl(&["kv", "put", "portolan/v1/endpoints/broken", "{"])?;
        let checked: Value = serde_json::from_str(&check(1)?)?;
        let problem = &checked["problems"][0];
        ensure!(problem["place"] == "portolan/v1/endpoints/broken", "{checked}");
        Ok(())
    });
}

#[test]
fn damage_is_reported_with_its_place_and_nothing_is_imported() {
    isolated(|env| {
        let data = directory("data");
        let mut server = env.quiet_registry(REGISTRY, &data)?;
        env.portolan(&["register", "api", "--id", "api-1", "--port", "8080"])?.run()?.exits(0)?;
        let checked = store(env, &["check"], &data, 0)?;
        ensure!(checked.contains("1 instance") && checked.contains("used by process"), "{checked}");
        let export = store(env, &["export"], &data, 0)?;
        server.kill()?;
        let lines: Vec<&str> = export.lines().collect();
        ensure!(lines.len() == 3, "{export}");
        env.write("cut.jsonl", &lines[..2].join("\n"))?;
        let import = env.portolan(&["store", "import", "cut.jsonl"])?.args(&directory("new"));
        let refused = import.run()?.exits(1)?;
        ensure!(refused.stderr.contains("cut.jsonl: the export is cut off"), "{refused:?}");
        ensure!(!env.directory().join("new").exists(), "a directory was created");

        let journal = env.directory().join("data/journal-00000001");
        damage(&journal)?;
        let check = env.portolan(&["store", "check"])?.args(&data).run()?.exits(1)?;
        ensure!(check.stderr.contains("journal-00000001 is damaged in line 1"), "{check:?}");
        let nothing = env.portolan(&["store", "export"])?.run()?.exits(2)?;
        ensure!(nothing.stderr.contains("service_registry.data_dir"), "{nothing:?}");
        Ok(())
    });
}

/// Changes a byte in the first line.
fn damage(file: &Path) -> Result<()> {
    let mut bytes = fs::read(file)?;
    bytes[20] ^= 1;
    Ok(fs::write(file, bytes)?)
}
