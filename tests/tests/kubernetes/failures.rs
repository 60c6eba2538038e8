//! What goes wrong between the bridge, the cluster and the registry.

use anyhow::{Result, ensure};
use portolan_tests::kubernetes::{ADMIN, BRIDGE, ControlPlane};
use portolan_tests::{Process, TestEnv, isolated, wait_for};
use serde_json::{Value, json};

use super::{import, instances, ready, started, wait_addresses};

/// The rights that `packaging/kubernetes` grants to the import.
fn rights() -> Value {
    json!([{"apiGroups": ["", "discovery.k8s.io"], "resources": ["services", "endpointslices"], "verbs": ["get", "list", "watch"]}])
}

/// A cluster with a Service of one endpoint, a registry, and an import that has registered it.
fn followed(env: &TestEnv) -> Result<(ControlPlane<'_>, Process, Process)> {
    let plane = ControlPlane::start(env)?;
    let registry = env.settled_registry()?;
    plane.service("shop", "web")?;
    plane.slice("shop", "web", "web-1", &[("10.1.2.3", ready())])?;
    let import = started(env, &plane, &[])?;
    wait_addresses("shop", "web", &["10.1.2.3"])?;
    Ok((plane, registry, import))
}

#[test]
fn namespace_that_may_not_be_read_is_reported_and_the_others_go_on() {
    isolated(|env| {
        let plane = ControlPlane::start(env)?;
        let _registry = env.settled_registry()?;
        plane.grant(Some("shop"), &rights())?;
        for namespace in ["shop", "shelf"] {
            plane.service(namespace, "web")?;
            plane.slice(namespace, "web", "web-1", &[("10.1.2.3", ready())])?;
        }
        let namespaces = ["--namespace", "shelf", "--namespace", "shop"];
        let mut import = import(env, &plane, BRIDGE, &namespaces)?;
        wait_addresses("shop", "web", &["10.1.2.3"])?;
        let line = import.wait_for_line("answers 403 Forbidden")?;
        ensure!(line.contains("\"shelf\""), "{line}");
        ensure!(line.contains("rbac.yaml"), "{line}");
        ensure!(instances("shelf", "web")?.is_empty(), "it may not be read");
        plane.grant(Some("shelf"), &rights())?;
        wait_addresses("shelf", "web", &["10.1.2.3"])
    });
}

#[test]
fn api_server_that_is_killed_changes_nothing_and_is_followed_again() {
    isolated(|env| {
        let (mut plane, _registry, mut import) = followed(env)?;
        let before = instances("shop", "web")?[0]["revision"].clone();
        plane.kill_api()?;
        import.wait_for_line("Watch of the cluster interrupted")?;
        let now = instances("shop", "web")?;
        ensure!(now.len() == 1 && now[0]["revision"] == before, "{now:?}");
        plane.start_api()?;
        plane.slice("shop", "web", "web-1", &[("10.1.2.4", ready())])?;
        wait_addresses("shop", "web", &["10.1.2.4"])
    });
}

#[test]
fn history_that_is_compacted_under_a_watch_is_replaced_by_a_list() {
    isolated(|env| {
        let (mut plane, _registry, mut import) = followed(env)?;
        // The watch is cut, the slice changes, and the history that the watch would resume from is gone.
        plane.kill_api()?;
        import.wait_for_line("Watch of the cluster interrupted")?;
        let paused = rustix_stop(&import)?;
        plane.start_api()?;
        plane.slice("shop", "web", "web-2", &[("10.1.2.4", ready())])?;
        plane.delete(&format!("{}/web-1", plane.slices_path("shop")))?;
        plane.compact()?;
        plane.kill_api()?;
        plane.start_api()?;
        paused.resume()?;
        wait_addresses("shop", "web", &["10.1.2.4"])?;
        import.wait_for_line("History of the cluster is compacted").map(drop)
    });
}

/// A process that is stopped until it is resumed.
struct Paused(rustix::process::Pid);

fn rustix_stop(process: &portolan_tests::Process) -> Result<Paused> {
    let id = i32::try_from(process.id())?;
    let pid = rustix::process::Pid::from_raw(id).ok_or_else(|| anyhow::anyhow!("no process"))?;
    process.signal(rustix::process::Signal::STOP)?;
    Ok(Paused(pid))
}

impl Paused {
    fn resume(self) -> Result<()> {
        Ok(rustix::process::kill_process(self.0, rustix::process::Signal::CONT)?)
    }
}

#[test]
fn token_that_has_expired_is_reported_and_the_renewed_one_is_used() {
    isolated(|env| {
        let mut plane = ControlPlane::start(env)?;
        let _registry = env.settled_registry()?;
        plane.grant(None, &rights())?;
        plane.service("shop", "web")?;
        plane.slice("shop", "web", "web-1", &[("10.1.2.3", ready())])?;
        let mut import = import(env, &plane, BRIDGE, &[])?;
        wait_addresses("shop", "web", &["10.1.2.3"])?;
        plane.restart_with_tokens("renewed-token,bridge,2,")?;
        import.wait_for_line("answers 401 Unauthorized")?;
        plane.slice("shop", "web", "web-1", &[("10.1.2.4", ready())])?;
        env.write(&format!("{BRIDGE}.token"), "renewed-token")?;
        // The client reads the file once a minute.
        portolan_tests::wait_within(std::time::Duration::from_secs(100), "the new token", || {
            let found = instances("shop", "web")?;
            ensure!(found.iter().any(|it| it["host"] == "10.1.2.4"), "{found:?}");
            Ok(())
        })
    });
}

#[test]
fn import_that_was_down_and_registry_that_was_lost_are_reconciled() {
    isolated(|env| {
        let plane = ControlPlane::start(env)?;
        let mut registry = env.settled_registry()?;
        for name in ["web", "api"] {
            plane.service("shop", name)?;
            plane.slice("shop", name, name, &[("10.1.2.3", ready())])?;
        }
        let mut import = started(env, &plane, &[])?;
        wait_addresses("shop", "web", &["10.1.2.3"])?;
        wait_addresses("shop", "api", &["10.1.2.3"])?;
        let before = instances("shop", "api")?[0]["revision"].clone();
        import.kill()?;
        plane.slice("shop", "web", "web", &[("10.1.2.4", ready())])?;
        let mut import = started(env, &plane, &[])?;
        wait_addresses("shop", "web", &["10.1.2.4"])?;
        let api = instances("shop", "api")?;
        ensure!(api[0]["revision"] == before, "it did not change: {api:?}");

        registry.kill()?;
        plane.slice("shop", "web", "web", &[("10.1.2.5", ready())])?;
        import.wait_for_line("Registry unreachable")?;
        let _registry = env.settled_registry()?;
        wait_addresses("shop", "web", &["10.1.2.5"])?;
        wait_addresses("shop", "api", &["10.1.2.3"])
    });
}

#[test]
fn import_that_starts_before_the_cluster_and_the_registry_waits_for_both() {
    isolated(|env| {
        let mut plane = ControlPlane::start(env)?;
        plane.service("shop", "web")?;
        plane.slice("shop", "web", "web-1", &[("10.1.2.3", ready())])?;
        plane.kill_api()?;
        let mut import = import(env, &plane, ADMIN, &[])?;
        import.wait_for_line("Watch of the cluster interrupted")?;
        plane.start_api()?;
        import.wait_for_line("Registry unreachable")?;
        let _registry = env.settled_registry()?;
        wait_for("the instance", || wait_addresses("shop", "web", &["10.1.2.3"]))
    });
}
