//! Many Services: the whole view is right, and one change is one event.

#![allow(clippy::disallowed_methods, reason = "no async runtime, so no paused clock")]

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use portolan_tests::kubernetes::ControlPlane;
use portolan_tests::{REGISTRY, http, isolated, wait_for};
use serde_json::{Value, json};

use super::{ready, started};

const SERVICES: usize = 100;
const ENDPOINTS: usize = 10;

fn addresses(service: usize) -> Vec<(String, Value)> {
    (1..=ENDPOINTS).map(|endpoint| (format!("10.1.{service}.{endpoint}"), ready())).collect()
}

fn put(plane: &ControlPlane<'_>, service: usize, endpoints: &[(String, Value)]) -> Result<()> {
    let endpoints: Vec<_> = endpoints.iter().map(|(a, c)| (a.as_str(), c.clone())).collect();
    let name = format!("s{service}");
    plane.slice("shop", &name, &name, &endpoints)
}

#[test]
fn thousand_endpoints_are_registered_and_one_change_is_one_event() {
    isolated(|env| {
        let plane = ControlPlane::start(env)?;
        let _registry = env.settled_registry()?;
        for service in 0..SERVICES {
            plane.service("shop", &format!("s{service}"))?;
            put(&plane, service, &addresses(service))?;
        }
        let began = Instant::now();
        let import = started(env, &plane, &[])?;
        wait_for("every endpoint", || {
            let all = http::get_json(&format!("{REGISTRY}/api/v1/services?scope=shop"))?;
            let count = all["services"].as_array().context("no list")?.len();
            ensure!(count == SERVICES * ENDPOINTS, "{count}");
            Ok(())
        })?;
        println!("{} endpoints known after {:?}", SERVICES * ENDPOINTS, began.elapsed());
        println!("memory of the import: {}", memory(import.id())?);

        let mut watch = env.portolan(&["--scope", "shop", "watch", "--json"])?.spawn("watch")?;
        watch.wait_for_line("snapshot")?;
        let mut delays = Vec::new();
        for round in 0..20 {
            let mut endpoints = addresses(7);
            endpoints[3].1 = json!({"ready": round % 2 == 1});
            let began = Instant::now();
            put(&plane, 7, &endpoints)?;
            watch.wait_until("one event more", || {
                let events = watch_events(env)?;
                ensure!(events.len() == round + 1, "{events:?}");
                Ok(())
            })?;
            delays.push(began.elapsed());
        }
        delays.sort();
        println!("from the start of the request to the line of the watch: {delays:?}");
        // What came after the last one would be an event too many.
        put(&plane, 8, &addresses(8)[1..])?;
        let events = watch.wait_until("the last event", || {
            let events = watch_events(env)?;
            let is_last = |event: &Value| event.to_string().contains("\"10.1.8.1\"");
            ensure!(events.last().is_some_and(is_last), "{events:?}");
            Ok(events)
        })?;
        ensure!(events.len() == 21, "{events:?}");
        let kinds: Vec<_> =
            events.iter().map(|event| event["type"].as_str().unwrap_or("")).collect();
        ensure!(kinds[..3] == ["deregistered", "registered", "deregistered"], "{kinds:?}");
        Ok(())
    });
}

/// The events after the snapshot.
fn watch_events(env: &portolan_tests::TestEnv) -> Result<Vec<Value>> {
    let logs = std::fs::read_dir(env.directory().join("logs"))?.flatten();
    let log = logs.map(|it| it.path()).find(|it| it.to_string_lossy().ends_with("-watch.out"));
    let text = std::fs::read_to_string(log.context("no log")?)?;
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().skip(1).map(|line| Ok(serde_json::from_str(line)?)).collect()
}

pub(super) fn memory(process: u32) -> Result<String> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS")).context("no VmRSS")?;
    Ok(line.to_owned())
}
