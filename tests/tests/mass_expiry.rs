//! Many leases that end at once: the instances are kept for a while, and `list` says why.

use anyhow::{Context, Result, ensure};
use portolan_tests::{REGISTRY, TestEnv, http, over_each_store, wait_for};
use serde_json::{Value, json};

const COUNT: usize = 12;

/// Registers instances in one request, so that their leases end together.
fn register(count: usize) -> Result<()> {
    let service = |number: usize| json!({"name": "api", "id": format!("api-{number}"), "host": "10.0.0.7", "port": 8000 + number, "ttl": 1});
    let register = |number| json!({"op": "register", "service": service(number)});
    let operations: Vec<Value> = (0..count).map(register).collect();
    let body = json!({"operations": operations}).to_string();
    let request = http::client()?.post(format!("{REGISTRY}/api/v1/batch"));
    let answer = request.header("content-type", "application/json").body(body).send()?;
    ensure!(answer.status().is_success(), "{answer:?}");
    Ok(())
}

fn list(env: &TestEnv) -> Result<Vec<Value>> {
    let listed = env.portolan(&["list", "--json"])?.run()?.exits(0)?.json()?;
    listed["services"].as_array().cloned().context("services")
}

#[test]
fn instances_whose_leases_end_at_once_are_listed_with_the_reason_and_go_later() {
    over_each_store(|env| {
        let settings = ["share=0.4", "instances=11", "keep=4s"];
        let settings = settings.map(|setting| format!("service_registry.mass_expiry.{setting}"));
        let options: Vec<_> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        let mut registry = env.quiet_registry(REGISTRY, &options)?;
        register(COUNT)?;
        wait_for("all to be kept", || {
            let services = list(env)?;
            let expected = "its lease ended like those of 12 of 12 instances of api at about the same time: it is kept for 4s";
            let is_kept = |service: &&Value| {
                let reason = service["health_reason"].as_str().unwrap_or_default();
                service["health"] == "unknown" && reason.starts_with(expected)
            };
            ensure!(services.iter().filter(is_kept).count() == COUNT, "{services:?}");
            Ok(())
        })?;
        registry.wait_for_line("Too many leases end at once, instances are kept")?;
        wait_for("the metric", || {
            let metrics = http::get(&format!("{REGISTRY}/metrics"))?;
            ensure!(metrics.contains("discovery_registry_protected_instances 12"), "{metrics}");
            Ok(())
        })?;
        // One comes back, the others go.
        env.portolan(&["heartbeat", "api-3"])?.run()?.exits(0)?;
        let found = env.discover("api", &["--strategy", "registry"])?.exits(0)?;
        ensure!(found.stdout.trim().starts_with("10.0.0.7:80"), "{}", found.stdout);
        wait_for("all to be gone", || {
            let services = list(env)?;
            ensure!(services.is_empty(), "{services:?}");
            Ok(())
        })?;
        registry.wait_for_line("No instance is kept any more")?;
        // A few that are killed together are dropped on time.
        register(COUNT - 2)?;
        let mut kept = Vec::new();
        wait_for("a few to be gone", || {
            let services = list(env)?;
            let has_reason = |service: &&Value| !service["health_reason"].is_null();
            kept.extend(services.iter().filter(has_reason).cloned());
            ensure!(services.is_empty(), "{services:?}");
            Ok(())
        })?;
        ensure!(kept.is_empty(), "{kept:?}");
        Ok(())
    });
}
