//! `portolan watch` sees every change, in order, once each, whatever happens to its connection.

use anyhow::{Context, Result, ensure};
use portolan_tests::{PATIENCE, Process, Proxy, World, isolated, wait_for};
use serde_json::Value;

const ID: &str = "default-api-1";

fn register(world: &World, version: &str, ttl: &str) -> Result<()> {
    let call = world.portolan(&["register", "api", "--port", "8080", "--id", ID])?;
    call.args(&["--service-version", version, "--ttl", ttl]).run()?.exits(0).map(drop)
}

fn events(watch: &Process) -> Result<Vec<Value>> {
    let said = watch.stdout();
    // The last line may be half written.
    let whole = said.rsplit_once('\n').map_or("", |(lines, _)| lines);
    whole.lines().map(|line| serde_json::from_str(line).context(line.to_owned())).collect()
}

/// Waits until the watch has seen that many events, and returns their kinds.
fn kinds(watch: &Process, count: usize) -> Result<Vec<String>> {
    wait_for(&format!("{count} events"), || {
        let events = events(watch)?;
        ensure!(events.len() >= count, "only {events:?}");
        Ok(events.iter().map(|event| event["type"].as_str().unwrap_or("none").into()).collect())
    })
}

#[test]
fn every_change_is_seen_in_order_and_once_across_a_dropped_connection() {
    isolated(|world| {
        let _registry = world.registry()?;
        let proxy = Proxy::to(7000)?;
        let call = world.portolan(&["watch", "api", "--json", "--registry", &proxy.url()])?;
        let watch = call.spawn("watch")?;
        ensure!(kinds(&watch, 1)? == ["snapshot"]);

        register(world, "1", "60s")?;
        world.portolan(&["health", ID, "critical"])?.run()?.exits(0)?;
        ensure!(kinds(&watch, 3)? == ["snapshot", "registered", "health"]);

        proxy.cut();
        register(world, "2", "60s")?;
        world.portolan(&["deregister", ID])?.run()?.exits(0)?;
        proxy.mend();
        ensure!(kinds(&watch, 5)?[3..] == ["updated", "deregistered"]);

        register(world, "3", "1s")?;
        world.registered_are("api", 0, PATIENCE)?;
        ensure!(kinds(&watch, 7)?[5..] == ["registered", "expired"]);

        let revisions: Vec<_> =
            events(&watch)?.iter().map(|event| event["revision"].as_u64()).collect();
        ensure!(revisions.is_sorted_by(|a, b| a < b), "{revisions:?}");
        // Another service's change is none of this watch's.
        let other = ["register", "web", "--port", "8081"];
        world.portolan(&other)?.run()?.exits(0)?;
        register(world, "4", "60s")?;
        ensure!(kinds(&watch, 8)?[7..] == ["registered"]);
        Ok(())
    });
}
