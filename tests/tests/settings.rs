//! Settings of services: `portolan config get|set|history|rollback|watch|schema NAME`.

use std::collections::VecDeque;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use portolan_client::DiscoveryConfig;
use portolan_client::blocking::DiscoveryClient;
use portolan_tests::{
    Output, REGISTRY, TIMEOUT, TestEnv, http, isolated, portolan_program, wait_for,
};
use rustix::process::Signal;
use serde_json::{Value, json};

const BINDER: &str = env!("CARGO_BIN_EXE_late-binder");
/// The members that 100 processes set at the same time.
const WRITERS: usize = 100;
/// How many of these processes run at a time. All at once, their starts would take longer than the timeout of a request.
const AT_A_TIME: usize = 16;

fn config(env: &TestEnv, words: &[&str]) -> Result<Output> {
    env.portolan(&["config"])?.args(words).run()
}

fn value(env: &TestEnv) -> Result<Value> {
    config(env, &["get", "api"])?.json()
}

fn versions(env: &TestEnv) -> Result<usize> {
    let history = config(env, &["history", "api", "--json"])?.json()?;
    Ok(history["versions"].as_array().context("no versions")?.len())
}

#[test]
fn settings_are_changed_watched_and_rolled_back() {
    isolated(|env| {
        let _registry = env.quiet_registry(REGISTRY, &[] as &[&str])?;
        let missing = config(env, &["get", "api"])?.exits(3)?;
        ensure!(missing.stderr.contains("portolan config set"), "{}", missing.stderr);
        let mut watch = env.portolan(&["config", "watch", "api"])?.spawn("watch")?;
        watch.wait_for_line("0 null")?;
        config(env, &["set", "api", "workers=4", "db.host=10.0.0.7", "log=info"])?.exits(0)?;
        watch.wait_for_line(r#"1 {"db":{"host":"10.0.0.7"},"log":"info","workers":4}"#)?;
        config(env, &["set", "api", "log=null", "db.tls=true"])?.exits(0)?;
        ensure!(value(env)? == json!({"workers": 4, "db": {"host": "10.0.0.7", "tls": true}}));
        let host = config(env, &["get", "api", "db.host"])?.text()?;
        ensure!(host.trim() == "10.0.0.7", "{host}");
        config(env, &["get", "api", "db.port"])?.exits(3)?;
        config(env, &["rollback", "api", "1"])?.exits(0)?;
        watch.wait_for_line(r#"3 {"db":{"host":"10.0.0.7"},"log":"info","workers":4}"#)?;
        config(env, &["rollback", "api", "9"])?.exits(3)?;
        let history = config(env, &["history", "api"])?.text()?;
        ensure!(history.contains("rollback to 1"), "{history}");
        config(env, &["set", "api", "--delete"])?.exits(0)?;
        watch.wait_for_line("4 null")?;
        config(env, &["get", "api"])?.exits(3)?;
        config(env, &["rollback", "api", "2", "--json"])?.exits(0)?;
        let old = config(env, &["get", "api", "log", "--version", "1"])?.text()?;
        ensure!(old.trim() == "info", "{old}");
        watch.signal(Signal::TERM)?;
        watch.wait(TIMEOUT)?.exits(0).map(drop)
    });
}

/// The version that an instance announces, in a listing or an announcement.
fn announced(instance: &Value) -> &str {
    instance["metadata"]["portolan.settings"].as_str().unwrap_or_default()
}

#[test]
fn agents_announce_an_update_when_the_settings_of_their_service_change() {
    isolated(|env| {
        let _registry = env.settled_registry()?;
        let listen = env.portolan(&["listen", "--json"])?.spawn("listen")?;
        let mut service = env.service("api", &["--health", "none"], &[BINDER, "{port}"])?;
        service.wait_for_line("bound")?;
        env.wait_registered("api", 1, TIMEOUT)?;
        let strategies = vec!["broadcast".parse().expect("it is one")];
        let settings = DiscoveryConfig { strategies, ..DiscoveryConfig::default() };
        let client: DiscoveryClient =
            DiscoveryClient::builder().config(settings).build_blocking()?;
        let cached =
            || Ok(client.discover("api")?.metadata.get("portolan.settings").map(str::to_owned));
        wait_for("the service to be in the cache", || cached().map(drop))?;

        for version in ["1", "2"] {
            config(env, &["set", "api", &format!("workers={version}")])?.exits(0)?;
            wait_for("the announcement", || {
                let lines = listen_lines(&listen.stdout())?;
                let is_update = |line: &Value| {
                    line["action"] == "update" && announced(&line["service"]) == version
                };
                ensure!(lines.iter().any(is_update), "no update in {} lines", lines.len());
                Ok(())
            })?;
            // A client that hears broadcasts only has it in its cache, and the registry has it.
            wait_for("the cache to be updated", || {
                let cached = cached()?;
                ensure!(cached.as_deref() == Some(version), "{cached:?}");
                let url = format!("{REGISTRY}/api/v1/services?name=api");
                let listing = http::get_json(&url)?;
                ensure!(announced(&listing["services"][0]) == version, "{listing}");
                Ok(())
            })?;
        }
        Ok(())
    });
}

/// The announcements that were heard.
fn listen_lines(output: &str) -> Result<Vec<Value>> {
    let whole = output.rsplit_once('\n').map_or("", |(lines, _)| lines);
    whole.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

#[test]
fn refused_changes_change_nothing_and_say_why() {
    isolated(|env| {
        let _registry = env.quiet_registry(REGISTRY, &[] as &[&str])?;
        config(env, &["set", "api", "workers=4"])?.exits(0)?;
        env.write("half.json", "{\"workers\": 5, ")?;
        env.write("list.json", "[1]")?;
        env.write("good.json", "{\"workers\": 5}")?;
        let refused = |words: &[&str], exit: i32, why: &str| -> Result<()> {
            let output = config(env, words)?.exits(exit)?;
            ensure!(output.stderr.contains(why), "{words:?}: {}", output.stderr);
            ensure!(value(env)? == json!({"workers": 4}) && versions(env)? == 1, "{words:?}");
            Ok(())
        };
        refused(&["set", "api", "--file", "half.json"], 2, "half.json: EOF")?;
        refused(&["set", "api", "--file", "missing.json"], 2, "missing.json")?;
        refused(&["set", "api", "--file", "list.json"], 1, "expected a JSON object")?;
        refused(&["set", "api", "--file", "good.json", "--version", "7"], 1, "version 1, not 7")?;
        refused(&["set", "api", "workers=5", "--version", "0"], 1, "version 1, not 0")?;
        refused(&["set", "api", "workers"], 2, "KEY=VALUE")?;
        refused(&["set", "api", &format!("pad={}", "x".repeat(70_000))], 1, "the limit is 65536")?;
        config(env, &["set", "api", "--file", "good.json", "--version", "1"])?.exits(0)?;
        ensure!(value(env)? == json!({"workers": 5}));
        Ok(())
    });
}

#[cfg(feature = "full")]
#[test]
fn settings_must_meet_their_schema() {
    isolated(|env| {
        let _registry = env.quiet_registry(REGISTRY, &[] as &[&str])?;
        let schema = json!({"properties": {"workers": {"type": "integer", "minimum": 1}}});
        env.write("schema.json", &schema.to_string())?;
        config(env, &["set", "api", "workers=4"])?.exits(0)?;
        config(env, &["schema", "api"])?.exits(3)?;
        config(env, &["schema", "api", "--file", "schema.json"])?.exits(0)?;
        ensure!(config(env, &["schema", "api"])?.json()? == schema);
        let refused = config(env, &["set", "api", "workers=0"])?.exits(1)?;
        ensure!(
            refused.stderr.contains("/workers: 0 is less than the minimum"),
            "{}",
            refused.stderr
        );
        ensure!(value(env)? == json!({"workers": 4}));
        config(env, &["schema", "api", "--remove"])?.exits(0)?;
        config(env, &["set", "api", "workers=0"])?.exits(0).map(drop)
    });
}

#[cfg(not(feature = "full"))]
#[test]
fn schema_needs_a_full_build() {
    isolated(|env| {
        let _registry = env.quiet_registry(REGISTRY, &[] as &[&str])?;
        env.write("schema.json", "{}")?;
        let refused = config(env, &["schema", "api", "--file", "schema.json"])?.exits(1)?;
        ensure!(refused.stderr.contains("feature `full`"), "{}", refused.stderr);
        Ok(())
    });
}

fn finish(writer: Option<Child>) -> Result<()> {
    let ended = writer.context("no writer")?.wait()?;
    ensure!(ended.success(), "a writer was refused");
    Ok(())
}

/// A hundred processes, many at the same time, over a registry that is killed afterwards.
#[test]
fn changes_of_a_hundred_processes_survive_a_crash_and_a_move() {
    isolated(|env| {
        let options = ["--set", "service_registry.data_dir=data"];
        let mut registry = env.quiet_registry(REGISTRY, &options)?;
        let set = |number: usize| {
            let mut command = Command::new(portolan_program()?);
            let member = format!("m{number}={number}");
            command.args(["--registry", REGISTRY, "config", "set", "api", &member]);
            command.current_dir(env.directory());
            Ok::<_, anyhow::Error>(command.stderr(Stdio::null()).spawn()?)
        };
        let mut running = VecDeque::new();
        for number in 0..WRITERS {
            if running.len() == AT_A_TIME {
                finish(running.pop_front())?;
            }
            running.push_back(set(number)?);
        }
        while !running.is_empty() {
            finish(running.pop_front())?;
        }
        registry.kill()?;
        let store = |words: &[&str], data: &str| {
            let set = format!("service_registry.data_dir={data}");
            env.portolan(&["store"])?.args(words).args(&["--set", &set]).run()?.text()
        };
        let checked = store(&["check"], "data")?;
        ensure!(checked.contains("the settings of 1 service"), "{checked}");
        store(&["export", "-o", "registry.jsonl"], "data")?;
        let imported = store(&["import", "registry.jsonl"], "other")?;
        ensure!(imported.contains("the settings of 1 service imported"), "{imported}");
        let _registry =
            env.quiet_registry(REGISTRY, &["--set", "service_registry.data_dir=other"])?;
        let found = wait_for("the settings", || value(env))?;
        let members = found.as_object().context("no object")?;
        ensure!(members.len() == WRITERS, "{} members", members.len());
        let newest = config(env, &["get", "api", "--json"])?.json()?;
        ensure!(newest["version"] == WRITERS, "{newest}");
        Ok(())
    });
}

/// The library: a hundred updates of one number, and a veto.
#[cfg(feature = "full")]
#[test]
fn updates_of_the_library_are_not_lost_and_can_be_vetoed() {
    use futures_util::future::try_join_all;
    use portolan_client::{RegistryClient, RegistryClientConfig, UpdateError};
    use std::collections::BTreeMap;
    type Counts = BTreeMap<String, u32>;

    isolated(|env| {
        let _registry = env.quiet_registry(
            REGISTRY,
            &["--set", "service_registry.clients.requests_per_second=100000"],
        )?;
        let settings = RegistryClient::new(RegistryClientConfig::new(REGISTRY))?
            .settings("api".parse()?, portolan_core::Scope::default());
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let increment = |counts: &mut Counts| {
                *counts.entry("count".to_owned()).or_default() += 1;
                Ok::<_, String>(())
            };
            try_join_all((0..WRITERS).map(|_| settings.update(increment))).await?;
            let vetoed = settings.update(|counts: &mut Counts| {
                counts.insert("count".to_owned(), 0);
                Err("not below 100")
            });
            let vetoed = vetoed.await;
            ensure!(matches!(vetoed, Err(UpdateError::Veto("not below 100"))), "{vetoed:?}");
            let mut watch = settings.watch();
            let newest = watch.next().await?;
            ensure!(newest.value == Some(json!({"count": WRITERS})), "{newest:?}");
            ensure!(newest.version == 100, "{newest:?}");
            Ok(())
        })
    });
}
