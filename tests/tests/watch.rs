//! `portolan watch` delivers every change once and in order, across lost connections.

use anyhow::{Context, Result, ensure};
use portolan_tests::{Process, Proxy, TIMEOUT, TestEnv, over_each_store, wait_for};
use serde_json::Value;

const ID: &str = "default-api-1";

fn register(env: &TestEnv, version: &str, ttl: &str) -> Result<()> {
    let call = env.portolan(&["register", "api", "--port", "8080", "--id", ID])?;
    call.args(&["--service-version", version, "--ttl", ttl]).run()?.exits(0).map(drop)
}

fn events(watch: &Process) -> Result<Vec<Value>> {
    let text = watch.stdout();
    // The last line may be incomplete.
    let whole = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
    whole.lines().map(|line| serde_json::from_str(line).context(line.to_owned())).collect()
}

/// Waits until the watch has received `count` events and returns their kinds.
fn kinds(watch: &Process, count: usize) -> Result<Vec<String>> {
    wait_for(&format!("{count} events"), || {
        let events = events(watch)?;
        ensure!(events.len() >= count, "only {events:?}");
        Ok(events.iter().map(|event| event["type"].as_str().unwrap_or("none").into()).collect())
    })
}

#[test]
fn watch_delivers_each_change_once_and_in_order_across_a_reconnect() {
    over_each_store(|env| {
        let _registry = env.registry()?;
        let proxy = Proxy::to_port(7000)?;
        let call = env.portolan(&["watch", "api", "--json", "--registry", &proxy.url()])?;
        let watch = call.spawn("watch")?;
        ensure!(kinds(&watch, 1)? == ["snapshot"]);

        register(env, "1", "60s")?;
        env.portolan(&["health", ID, "critical"])?.run()?.exits(0)?;
        ensure!(kinds(&watch, 3)? == ["snapshot", "registered", "health"]);

        proxy.disconnect();
        register(env, "2", "60s")?;
        env.portolan(&["deregister", ID])?.run()?.exits(0)?;
        proxy.reconnect();
        ensure!(kinds(&watch, 5)?[3..] == ["updated", "deregistered"]);

        register(env, "3", "1s")?;
        env.wait_registered("api", 0, TIMEOUT)?;
        ensure!(kinds(&watch, 7)?[5..] == ["registered", "expired"]);

        let revisions: Vec<_> =
            events(&watch)?.iter().map(|event| event["revision"].as_u64()).collect();
        ensure!(revisions.is_sorted_by(|a, b| a < b), "{revisions:?}");
        // A change of another service is not delivered.
        let other = ["register", "web", "--port", "8081"];
        env.portolan(&other)?.run()?.exits(0)?;
        register(env, "4", "60s")?;
        ensure!(kinds(&watch, 8)?[7..] == ["registered"]);
        Ok(())
    });
}
