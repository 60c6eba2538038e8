//! Settings that change while the registry runs, with the real command.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use portolan_tests::{Process, REGISTRY, TestEnv, http, isolated, wait_for};
use rustix::process::Signal;
use serde_json::{Value, json};

const TOKEN: &str = "e1c5e3b06fa24f8a9d0c";
/// How often the settings are loaded again under load; every second time they are invalid.
const RELOADS: u64 = 1_000;

/// A registry with a configuration file.
struct Live {
    file: PathBuf,
    registry: Process,
}

/// An answer: the status, the entity tag and the body.
struct Answer {
    status: u16,
    tag: String,
    body: Value,
}

impl Live {
    fn start(env: &TestEnv, settings: &str) -> Result<Self> {
        let file = env.write("etc/portolan.yaml", settings)?;
        Self::with_file(env, file)
    }

    fn with_file(env: &TestEnv, file: PathBuf) -> Result<Self> {
        Self::with_options(env, file, &["--set", "broadcast.enabled=false"])
    }

    fn with_options(env: &TestEnv, file: PathBuf, options: &[&str]) -> Result<Self> {
        let path = file.display().to_string();
        let serve = env.portolan(&["serve", "--config", &path])?.args(options);
        let mut registry = serve.env("PORTOLAN_TOKEN", TOKEN).spawn("registry")?;
        registry
            .wait_until("the registry to be ready", || http::get(&format!("{REGISTRY}/readyz")))?;
        Ok(Self { file, registry })
    }

    /// Waits until a setting has a value.
    fn wait_for(&mut self, path: &str, expected: &Value) -> Result<()> {
        self.registry.wait_until(&format!("{path} to be {expected}"), || {
            let value = setting(path)?;
            ensure!(value == *expected, "{path} is {value}");
            Ok(())
        })
    }

    /// Waits until the file is refused for this reason; `settings` has not changed meanwhile.
    fn wait_refused(&mut self, reason: &str, version: u64) -> Result<()> {
        self.registry.wait_until(&format!("the refusal: {reason}"), || {
            let config = config()?;
            let refused = config["refused"].as_str().unwrap_or_default();
            ensure!(refused.contains(reason), "{refused}");
            ensure!(config["version"] == version, "{}", config["version"]);
            Ok(())
        })?;
        self.registry.wait_for_line("the former ones stay in force").map(drop)
    }
}

fn send(method: &str, path: &str, version: Option<&str>, body: Option<&Value>) -> Result<Answer> {
    let method = method.parse()?;
    let mut request =
        http::client()?.request(method, format!("{REGISTRY}{path}")).bearer_auth(TOKEN);
    if let Some(version) = version {
        request = request.header("if-match", version);
    }
    if let Some(body) = body {
        request = request.json(body);
    }
    let answer = request.send()?;
    let tag = answer.headers().get("etag").and_then(|tag| tag.to_str().ok()).unwrap_or_default();
    let (status, tag, text) = (answer.status().as_u16(), tag.to_owned(), answer.text()?);
    let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? };
    Ok(Answer { status, tag, body })
}

fn config() -> Result<Value> {
    let answer = send("GET", "/api/v1/config", None, None)?;
    ensure!(answer.status == 200, "{}", answer.body);
    Ok(answer.body)
}

fn setting(path: &str) -> Result<Value> {
    Ok(setting_in(&config()?, path)?.clone())
}

fn setting_in<'a>(config: &'a Value, path: &str) -> Result<&'a Value> {
    let settings = config["settings"].as_array().context("settings")?;
    let found = settings.iter().find(|setting| setting["path"] == path);
    Ok(&found.context("no such setting")?["value"])
}

#[test]
fn sighup_loads_the_settings_and_does_not_end_the_server() {
    isolated(|env| {
        // Both at once would be seen as a change of the file.
        let mut live = Live::start(env, "logging: {level: info}\n")?;
        live.registry.signal(Signal::HUP)?;
        live.registry.wait_for_line("author=SIGHUP version=1")?;
        fs::write(&live.file, "logging: {level: debug}\nhealth: {interval: 5s}\n")?;
        live.wait_for("health.interval", &json!("5s"))?;
        live.registry.wait_for_line("DEBUG")?;
        ensure!(live.registry.ended()?.is_none());
        let metrics =
            http::client()?.get(format!("{REGISTRY}/metrics")).bearer_auth(TOKEN).send()?;
        let metrics = metrics.text()?;
        ensure!(
            !metrics.contains("discovery_config_changes_total{result=\"success\"} 0"),
            "{metrics}"
        );
        Ok(())
    });
}

#[test]
fn file_that_an_editor_or_a_config_map_replaces_is_followed() {
    isolated(|env| {
        let mut live = Live::start(env, "health: {interval: 3s}\n")?;
        let other = env.write("etc/.portolan.yaml.swp", "health: {interval: 4s}\n")?;
        fs::rename(other, &live.file)?;
        live.wait_for("health.interval", &json!("4s"))?;
        live.registry.terminate()?;

        for (folder, interval) in [("..1", "3s"), ("..2", "4s"), ("..3", "5s")] {
            let text = format!("health: {{interval: {interval}}}\n");
            env.write(&format!("map/{folder}/portolan.yaml"), &text)?;
        }
        let map = env.folder("map")?;
        symlink("..1", map.join("..data"))?;
        symlink("..data/portolan.yaml", map.join("portolan.yaml"))?;
        let mut live = Live::with_file(env, map.join("portolan.yaml"))?;
        for (folder, interval) in [("..2", "4s"), ("..3", "5s")] {
            symlink(folder, map.join("..new"))?;
            fs::rename(map.join("..new"), map.join("..data"))?;
            live.wait_for("health.interval", &json!(interval))?;
        }
        Ok(())
    });
}

#[test]
fn unusable_file_changes_nothing_and_says_why() {
    isolated(|env| {
        let mut live = Live::start(env, "health: {interval: 3s}\n")?;
        for (text, reason) in [
            ("health: {interval: 4s, timeout", "portolan.yaml:1"),
            ("health: {interval: 4s}\nhelth: {}\n", "did you mean `health`?"),
            ("health: {interval: 4h}\n", "expected 10ms to 1h"),
            ("", "is empty"),
            (
                "health: {interval: 4s}\nservice_registry: {history: 5}\n",
                "service_registry.history: it needs a restart",
            ),
            ("health: {interval: 4s}\nservice_registry: {policies: /nowhere}\n", "/nowhere"),
        ] {
            fs::write(&live.file, text)?;
            live.wait_refused(reason, 1)?;
        }
        fs::remove_file(&live.file)?;
        live.registry.signal(Signal::HUP)?;
        live.wait_refused("cannot read the configuration file", 1)?;
        ensure!(setting("health.interval")? == "3s");
        fs::write(&live.file, "health: {interval: 4s}\n")?;
        live.wait_for("health.interval", &json!("4s"))
    });
}

#[test]
fn administrator_changes_settings_by_requests() {
    isolated(|env| {
        let mut live = Live::start(env, "health: {interval: 3s}\n")?;
        let path = "/api/v1/config";
        let tag = send("GET", path, None, None)?.tag;
        let change =
            json!({"health": {"interval": "4s"}, "port_allocator": {"reserved_ports": [22, 8080]}});
        let changed = send("PATCH", path, Some(&tag), Some(&change))?;
        ensure!(changed.status == 200 && changed.body["version"] == 2, "{}", changed.body);
        for (version, change, status, reason) in [
            (tag.as_str(), json!({"health": {"interval": "5s"}}), 412, "version 2, and not 1"),
            (
                "*",
                json!({"health": {"interval": "5s"}, "broadcast": {"ttl": 3}}),
                422,
                "broadcast.ttl",
            ),
            ("*", json!({"health": {"interval": "5s"}, "token": "x"}), 422, "token"),
            ("*", json!({"helth": {}}), 422, "did you mean `health`?"),
            (
                "*",
                json!({"service_registry": {"history": 5}}),
                422,
                "service_registry.history: it needs a restart",
            ),
            (
                "*",
                json!({"broadcast": {"enabled": true}}),
                422,
                "broadcast.enabled: flag --set overrides it",
            ),
        ] {
            let refused = send("PATCH", path, Some(version), Some(&change))?;
            let detail = refused.body["detail"].as_str().context("no problem")?;
            ensure!(refused.status == status && detail.contains(reason), "{}", refused.body);
        }
        ensure!(setting("health.interval")? == "4s");

        // Limits hold for registrations that come later. Nothing that is registered goes.
        let register = |id: &str, port: u16| {
            let service = json!({"name": "api", "host": "127.0.0.1", "port": port, "ttl": 60});
            send("PUT", &format!("/api/v1/services/{id}"), None, Some(&service))
        };
        let limit = |value: Value| {
            send("PATCH", path, None, Some(&json!({"service_registry": {"max_endpoints": value}})))
        };
        ensure!(register("api-1", 9301)?.status == 201);
        ensure!(limit(json!(1))?.status == 200);
        let refused = register("api-2", 9302)?;
        ensure!(refused.status == 503, "{} {}", refused.status, refused.body);
        ensure!(limit(Value::Null)?.status == 200 && register("api-2", 9302)?.status == 201);

        // The file is weaker than the request, and is locked out by the lock.
        send("PUT", "/api/v1/config/lock", None, Some(&json!({"reason": "migration"})))?;
        fs::write(&live.file, "health: {interval: 6s, timeout: 2s}\n")?;
        live.wait_refused("locked by token: migration", 4)?;
        ensure!(send("DELETE", "/api/v1/config/lock", None, None)?.status == 204);
        live.wait_for("health.timeout", &json!("2s"))?;
        ensure!(setting("health.interval")? == "4s");
        send("PATCH", path, None, Some(&json!({"health": {"interval": null}})))?;
        live.wait_for("health.interval", &json!("6s"))?;

        let history = send("GET", "/api/v1/config/history", None, None)?.body;
        let authors: Vec<_> = history["versions"]
            .as_array()
            .context("versions")?
            .iter()
            .map(|version| version["author"].as_str().unwrap_or_default().to_owned())
            .collect();
        ensure!(authors.iter().filter(|author| *author == "file").count() == 1, "{authors:?}");
        ensure!(authors[..2] == ["start", "client token"], "{authors:?}");
        ensure!(!history.to_string().contains(TOKEN));
        let anyone = http::client()?.get(format!("{REGISTRY}{path}")).send()?;
        ensure!(anyone.status().as_u16() == 401);
        Ok(())
    });
}

/// Writes the file of a key, and returns the setting of a list with this one.
fn key(env: &TestEnv, id: &str) -> Result<String> {
    let file = env.write(&format!("{id}.key"), &format!("{id} 0123456789abcdef"))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    Ok(format!("broadcast.keys=[{{id: {id}, file: {:?}}}]", file.display()))
}

/// Whether a process listens on the port of the channel.
fn is_channel_joined() -> Result<bool> {
    let sockets = fs::read_to_string("/proc/thread-self/net/udp")?;
    Ok(sockets.lines().any(|line| line.contains(&format!(":{:04X} ", 7001))))
}

fn wait_joined(joined: bool) -> Result<()> {
    wait_for("the registry to join or leave the channel", || {
        ensure!(is_channel_joined()? == joined, "joined: {}", !joined);
        Ok(())
    })
}

/// Announces until the registry has imported it.
fn wait_imported(env: &TestEnv, name: &str, keys: &str) -> Result<()> {
    wait_for("the import", || {
        announce(env, name, keys)?;
        let found = send("GET", &format!("/api/v1/services?name={name}"), None, None)?.body;
        ensure!(found["services"].as_array().is_some_and(|all| all.len() == 1), "{found}");
        Ok(())
    })
}

fn announce(env: &TestEnv, name: &str, keys: &str) -> Result<()> {
    // An instance displaces another one at its address.
    let port = (8080 + name.len()).to_string();
    let announce = ["announce", name, "--port", &port, "--set", keys];
    env.portolan(&announce)?.run()?.exits(0).map(drop)
}

fn dropped(reason: &str) -> Result<u64> {
    let metrics = http::client()?.get(format!("{REGISTRY}/metrics")).bearer_auth(TOKEN).send()?;
    let metrics = metrics.text()?;
    let name = format!("discovery_broadcast_dropped_total{{reason=\"{reason}\"}} ");
    let count = metrics.lines().find_map(|line| line.strip_prefix(&name));
    Ok(count.map_or(Ok(0), str::parse)?)
}

#[test]
fn broadcast_is_switched_on_and_off_and_its_keys_change_without_a_restart() {
    isolated(|env| {
        let (one, two) = (key(env, "one")?, key(env, "two")?);
        let settings = |keys: &str| {
            let keys = keys.replace("broadcast.keys=", "");
            format!("broadcast:\n  enabled: false\n  keys: {keys}\n")
        };
        let file = env.write("etc/portolan.yaml", &settings(&one))?;
        let mut live = Live::with_options(env, file, &[])?;
        ensure!(!is_channel_joined()?, "it is switched off");
        let switch = |on: Value| {
            let change = json!({"broadcast": {"enabled": on}});
            let answer = send("PATCH", "/api/v1/config", None, Some(&change))?;
            ensure!(answer.status == 200, "{}", answer.body);
            anyhow::Ok(())
        };
        switch(json!(true))?;
        wait_joined(true)?;
        wait_imported(env, "api", &one)?;

        // A file without a usable key changes nothing.
        fs::write(&live.file, settings("[{id: three, file: /nowhere/three.key}]"))?;
        live.wait_refused("/nowhere/three.key", 2)?;
        wait_imported(env, "cart", &one)?;

        fs::write(&live.file, settings(&two))?;
        live.registry.wait_for_line("version=3 changed=\"broadcast.keys\"")?;
        wait_for("the other key to be used", || {
            announce(env, "forged", &one)?;
            ensure!(dropped("unknown_key")? > 0, "{}", live.registry.stderr());
            Ok(())
        })?;
        wait_imported(env, "db", &two)?;
        // What was imported stays.
        let all = send("GET", "/api/v1/services", None, None)?.body;
        let names = all["services"].as_array().context("services")?.iter();
        let names: Vec<_> = names.filter_map(|service| service["name"].as_str()).collect();
        ensure!(["api", "cart", "db"].iter().all(|name| names.contains(name)), "{all}");

        switch(Value::Null)?;
        wait_joined(false)?;
        ensure!(live.registry.ended()?.is_none());
        Ok(())
    });
}

#[test]
fn stack_follows_the_settings_of_its_file_and_says_what_needs_a_restart() {
    isolated(|env| {
        let file = |settings: &str, service: &str| {
            let services = format!("services:\n  api: {{command: 'sleep 1000', {service}}}\n");
            env.write("shop/portolan.yaml", &format!("name: shop\n{settings}\n{services}"))
        };
        let path = file("logging: {level: info}", "port: none")?;
        let folder = path.parent().context("no folder")?.to_owned();
        let mut up = env.portolan(&["up"])?.directory(&folder).spawn("up")?;
        let sleeps = |(_, command): &(u32, String)| command.starts_with("sleep 1000");
        let program = || env.processes()?.into_iter().find(sleeps).context("no program");
        let started = up.wait_until("the program to run", program)?;

        file("logging: {level: debug}", "port: none")?;
        up.wait_for_line("changed=\"logging.level\"")?;
        // The rest of the file is not applied if one setting cannot be.
        file("logging: {level: warn}\nhealth: {interval: 3s}", "port: none")?;
        up.wait_for_line("health.interval: it needs a restart: the services of the stack")?;
        file("logging: {level: debug}", "port: none, grace: 1s")?;
        up.wait_for_line("Services of the stack have changed in the file")?;
        file("logging: {level: debug}", "prot: none")?;
        up.wait_for_line("did you mean `port`?")?;
        file("logging: {level: info}", "port: none, grace: 1s")?;
        up.wait_for_line("version=3 changed=\"logging.level\"")?;
        // The program runs on.
        ensure!(program()? == started);
        up.signal(Signal::TERM)?;
        up.wait(portolan_tests::TIMEOUT)?.exits(0).map(drop)
    });
}

#[test]
fn no_lookup_fails_during_a_thousand_reloads_half_of_them_invalid() {
    isolated(|env| {
        let mut live = Live::start(env, "health: {interval: 2s}\n")?;
        let service = json!({"name": "api", "host": "127.0.0.1", "port": 8080, "ttl": "1h"});
        let registered = send("POST", "/api/v1/services", None, Some(&service))?;
        ensure!(registered.status == 201, "{}", registered.body);
        let (done, lookups) = (AtomicBool::new(false), AtomicU64::new(0));
        let reloaded = thread::scope(|scope| {
            let looking = [(); 2].map(|()| {
                scope.spawn(|| -> Result<()> {
                    let client = http::client()?;
                    let url = format!("{REGISTRY}/api/v1/services?name=api");
                    while !done.load(Ordering::Relaxed) {
                        let answer = client.get(&url).bearer_auth(TOKEN).send()?;
                        let status = answer.status();
                        let listing: Value = serde_json::from_str(&answer.text()?)?;
                        let count = listing["services"].as_array().map(Vec::len);
                        ensure!(status == 200 && count == Some(1), "{status}: {listing}");
                        lookups.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            });
            let reloaded = reload_often(&mut live);
            done.store(true, Ordering::Relaxed);
            for lookups in looking {
                lookups.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
            }
            reloaded
        });
        reloaded?;
        let lookups = lookups.into_inner();
        ensure!(lookups >= RELOADS, "only {lookups} lookups");
        eprintln!("{lookups} lookups, none failed");
        Ok(())
    });
}

/// Loads the settings again, valid and invalid ones in turn, and waits for the effect of each.
fn reload_often(live: &mut Live) -> Result<()> {
    // One client for thousands of requests: each has threads and a connection of its own.
    let client = http::client()?;
    let get = |path: &str| -> Result<String> {
        let answer = client.get(format!("{REGISTRY}{path}")).bearer_auth(TOKEN).send()?;
        Ok(answer.error_for_status()?.text()?)
    };
    let setting = |path: &str| -> Result<Value> {
        Ok(setting_in(&serde_json::from_str(&get("/api/v1/config")?)?, path)?.clone())
    };
    let count = |result: &str| -> Result<u64> {
        let metrics = get("/metrics")?;
        let name = format!("discovery_config_changes_total{{result=\"{result}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name)).context("counter")?;
        Ok(line.parse()?)
    };
    for number in 0..RELOADS / 2 {
        let interval = 3 + number % 2;
        fs::write(&live.file, format!("health: {{interval: {interval}s}}\n"))?;
        live.registry.signal(Signal::HUP)?;
        wait_for("the new value", || {
            ensure!(setting("health.interval")? == format!("{interval}s"));
            Ok(())
        })?;
        let failed = count("failure")?;
        fs::write(&live.file, "health: {interval: ")?;
        live.registry.signal(Signal::HUP)?;
        wait_for("the refusal", || {
            ensure!(count("failure")? > failed);
            Ok(())
        })?;
    }
    let config = config()?;
    let version = config["version"].as_u64().context("version")?;
    ensure!(version == 1 + RELOADS / 2, "{version}");
    ensure!(config["refused"].is_string());
    Ok(())
}
