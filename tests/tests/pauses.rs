//! The registry and its services are paused together, as on a laptop that is suspended: nothing is dropped.

use std::ffi::OsStr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use portolan_tests::{Process, REGISTRY, TIMEOUT, TestEnv, consul, etcd, http, isolated, wait_for};
use rustix::process::Signal;
use serde_json::Value;

const BINDER: &str = env!("CARGO_BIN_EXE_late-binder");
const SERVICES: [&str; 3] = ["api", "web", "db"];
const TTL: &str = "2s";
/// Checks that would mark an instance at their first failure.
const CHECKS: [&str; 4] =
    ["--set", "health.interval=1s", "--set", "health.failures_before_critical=1"];
/// How long the pause lasts, in seconds: several TTLs, and longer than the membership of a server over etcd. Over Consul
/// that is longer, see `consul::pause_of_the_server_does_not_end_leases`.
/// `PORTOLAN_PAUSE` sets another one.
const PAUSE: u64 = 8;

fn pause() -> Result<Duration> {
    let seconds = std::env::var("PORTOLAN_PAUSE").ok().map(|text| text.parse()).transpose()?;
    Ok(Duration::from_secs(seconds.unwrap_or(PAUSE)))
}

/// Starts the services, and waits until they are registered.
fn run(env: &TestEnv) -> Result<Vec<Process>> {
    let mut running = Vec::new();
    for name in SERVICES {
        let options = ["--ttl", TTL, "--health", "none"];
        let mut service = env.service(name, &options, &[BINDER, "{port}"])?;
        service.wait_for_line("bound")?;
        env.wait_registered(name, 1, TIMEOUT)?;
        running.push(service);
    }
    Ok(running)
}

/// Waits until each service has sent a heartbeat since.
fn wait_for_heartbeats(since: Timestamp) -> Result<()> {
    wait_for("heartbeats", || {
        for name in SERVICES {
            let listing = http::get_json(&format!("{REGISTRY}/api/v1/services?name={name}"))?;
            let services = listing["services"].as_array().context("a list")?;
            ensure!(services.len() == 1, "{name} is gone: {listing}");
            let heartbeat: Timestamp =
                services[0]["last_heartbeat"].as_str().context("a heartbeat")?.parse()?;
            ensure!(heartbeat > since, "{name} was renewed at {heartbeat}, before {since}");
            ensure!(services[0]["health_reason"].is_null(), "{listing}");
        }
        Ok(())
    })
}

/// Asserts that a watch has seen each service registered, and none removed.
fn check(watch: &Process) -> Result<()> {
    let output = watch.stdout();
    let whole = output.rsplit_once('\n').map_or("", |(lines, _)| lines);
    let mut registered = 0;
    for line in whole.lines() {
        let event: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        match event["type"].as_str().context("a type")? {
            "registered" => registered += 1,
            "health" | "updated" => {}
            "snapshot" => {
                let services = event["endpoints"].as_array().context("endpoints")?.len();
                ensure!(services == registered, "{services} of {registered}: {event}");
            }
            _ => anyhow::bail!("{event}"),
        }
    }
    ensure!(registered == SERVICES.len(), "{registered} registered: {output}");
    Ok(())
}

fn nothing_is_dropped<S: AsRef<OsStr>>(env: &TestEnv, options: &[S]) -> Result<()> {
    let registry = env.quiet_registry(REGISTRY, options)?;
    let mut watch = env.portolan(&["watch", "--json", "--registry", REGISTRY])?.spawn("watch")?;
    watch.wait_for_line("snapshot")?;
    let services = run(env)?;
    wait_for_heartbeats(Timestamp::now())?;
    let all: Vec<&Process> = services.iter().chain([&registry]).collect();
    all.iter().try_for_each(|process| process.signal_group(Signal::STOP))?;
    std::thread::sleep(pause()?);
    let resumed = Timestamp::now();
    // The registry runs first, and finds every lease ended.
    all.iter().rev().try_for_each(|process| process.signal_group(Signal::CONT))?;
    wait_for_heartbeats(resumed)?;
    check(&watch)
}

#[test]
fn pause_of_registry_and_services_drops_nothing_from_memory() {
    isolated(|env| nothing_is_dropped::<&str>(env, &[]));
}

#[test]
fn pause_of_registry_and_services_drops_nothing_from_a_data_directory() {
    isolated(|env| {
        let data = env.directory().join("data");
        nothing_is_dropped(env, &[OsStr::new("--data-dir"), data.as_os_str()])
    });
}

#[test]
fn pause_of_registry_and_services_drops_nothing_from_etcd() {
    isolated(|env| {
        let _etcd = etcd::start(env)?;
        nothing_is_dropped(env, &etcd::options())
    });
}

#[test]
fn pause_of_registry_and_services_drops_nothing_from_consul() {
    isolated(|env| {
        let _consul = consul::start(env)?;
        nothing_is_dropped(env, &consul::options())
    });
}

/// Stops the registry alone: its services send heartbeats that nobody answers, and its own checks are late.
fn registry_that_was_paused_marks_nothing<S: AsRef<OsStr>>(
    env: &TestEnv,
    options: &[S],
) -> Result<()> {
    let registry = env.quiet_registry(REGISTRY, options)?;
    let mut watch = env.portolan(&["watch", "--json", "--registry", REGISTRY])?.spawn("watch")?;
    watch.wait_for_line("snapshot")?;
    let services = run(env)?;
    // The registry checks it, and nobody renews it.
    let port = env.registered("api")?[0]["port"].to_string();
    let url = format!("tcp://127.0.0.1:{port}");
    let register = ["register", "checked", "--port", "9999", "--ttl", "1h", "--health-url", &url];
    env.portolan(&register)?.run()?.exits(0)?;
    let passing = |since: Timestamp| {
        wait_for("a check", || {
            let id = env.registered("checked")?[0]["id"].as_str().context("no id")?.to_owned();
            let health = http::get_json(&format!("{REGISTRY}/api/v1/services/{id}/health"))?;
            ensure!(health["status"] == "passing", "{health}");
            let checked = health["checks"]["checked_at"].as_str().context("not checked")?;
            ensure!(checked.parse::<Timestamp>()? > since, "{health}");
            Ok(())
        })
    };
    passing(Timestamp::UNIX_EPOCH)?;
    wait_for_heartbeats(Timestamp::now())?;
    registry.signal(Signal::STOP)?;
    std::thread::sleep(pause()?);
    let resumed = Timestamp::now();
    registry.signal(Signal::CONT)?;
    wait_for_heartbeats(resumed)?;
    passing(resumed)?;
    let output = watch.stdout();
    // They deregister when they end.
    drop(services);
    for mark in ["critical", "expired", "\"deregistered\""] {
        ensure!(!output.contains(mark), "{mark}: {output}");
    }
    Ok(())
}

fn with_checks(options: [String; 4]) -> Vec<String> {
    CHECKS.map(str::to_owned).into_iter().chain(options).collect()
}

#[test]
fn pause_of_the_registry_alone_marks_nothing_in_memory() {
    isolated(|env| registry_that_was_paused_marks_nothing(env, &CHECKS));
}

#[test]
fn pause_of_the_registry_alone_marks_nothing_in_etcd() {
    isolated(|env| {
        let _etcd = etcd::start(env)?;
        registry_that_was_paused_marks_nothing(env, &with_checks(etcd::options()))
    });
}

#[test]
fn pause_of_the_registry_alone_marks_nothing_in_consul() {
    isolated(|env| {
        let _consul = consul::start(env)?;
        registry_that_was_paused_marks_nothing(env, &with_checks(consul::options()))
    });
}
