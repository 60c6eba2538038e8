//! A registry server that has lost its store: it answers with what it knew, and says so.

use anyhow::{Context, Result, ensure};
use portolan_tests::{REGISTRY, TestEnv, etcd, http, isolated, wait_for};
use rustix::process::Signal;

/// Returns the status and the detail of `/readyz`.
fn readyz() -> Result<(u16, String)> {
    let answer = http::client()?.get(format!("{REGISTRY}/readyz")).send()?;
    let (status, body) = (answer.status().as_u16(), answer.json::<serde_json::Value>()?);
    Ok((status, body["detail"].as_str().unwrap_or_default().to_owned()))
}

/// Checks that the registry serves one instance of the service, with an old view or a current one.
fn list(env: &TestEnv, is_stale: bool) -> Result<()> {
    let output = env.portolan(&["list", "api"])?.run()?.exits(0)?;
    ensure!(output.stdout.contains("10.0.0.7:8080"), "{}", output.stdout);
    let warning = "warning: the registry has lost its store, and shows what it knew";
    ensure!(output.stderr.contains(warning) == is_stale, "{}", output.stderr);
    let listing = http::get_json(&format!("{REGISTRY}/api/v1/services"))?;
    let age = listing["view_age_ms"].as_u64().context("an age")?;
    ensure!((listing["stale"] == true) == is_stale && (age > 2000) == is_stale, "{listing}");
    Ok(())
}

#[test]
fn server_that_has_lost_its_store_says_how_old_its_answers_are() {
    isolated(|env| {
        let mut store = etcd::start(env)?;
        let limit = ["--set", "service_registry.max_view_age=2s"].map(str::to_owned);
        let options = [&etcd::options()[..], &limit].concat();
        let mut server = env.quiet_registry(REGISTRY, &options)?;
        let register = ["register", "api", "--id", "api-1", "--host", "10.0.0.7", "--port", "8080"];
        env.portolan(&register)?.args(&["--ttl", "1h"]).run()?.exits(0)?;
        wait_for("a current list", || list(env, false))?;

        // Silent, not closed: no connection is refused.
        store.signal(Signal::STOP)?;
        let detail = wait_for("the registry to be stale", || {
            let (status, detail) = readyz()?;
            ensure!(status == 503, "{status}: {detail}");
            Ok(detail)
        })?;
        ensure!(detail.starts_with("the registry is stale: its view is "), "{detail}");
        list(env, true)?;
        let discover = ["discover", "api", "--strategy", "registry"];
        let found = env.portolan(&discover)?.run()?.exits(0)?;
        ensure!(found.stderr.contains("answers with old data"), "{}", found.stderr);
        // What it never knew may be registered by now.
        env.portolan(&["discover", "db", "--strategy", "registry"])?.run()?.exits(5)?;
        let doctor = env.portolan(&["doctor", "--problems"])?.run()?;
        ensure!(doctor.stdout.contains("the registry is stale: its view is"), "{}", doctor.stdout);
        let metrics = http::get(&format!("{REGISTRY}/metrics"))?;
        let age = metrics.lines().find(|it| it.starts_with("discovery_registry_view_age_seconds "));
        let age: f64 = age.and_then(|it| it.split(' ').nth(1)).context("an age")?.parse()?;
        ensure!(age > 2.0, "{age}");

        store.signal(Signal::CONT)?;
        wait_for("a current list again", || list(env, false))?;
        ensure!(readyz()?.0 == 200, "{:?}", readyz()?);
        _ = store.kill();
        server.wait_until("the reason of the loss", || {
            let (_, detail) = readyz()?;
            ensure!(detail.contains("etcd at http://127.0.0.1:23790 is unreachable"), "{detail}");
            Ok(())
        })?;
        Ok(())
    });
}
