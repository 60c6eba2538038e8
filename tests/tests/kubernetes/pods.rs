//! Annotated pods as instances in a registry, one command for each node.

use anyhow::{Context as _, Result, ensure};
use portolan_tests::kubernetes::{BRIDGE, ControlPlane};
use portolan_tests::{Process, TestEnv, isolated, wait_for};
use serde_json::{Value, json};

use super::{instances, ready, started, wait_addresses};

const PODS: &str = "/api/v1/namespaces/shop/pods";

/// The rights that `packaging/kubernetes/pods.yaml` grants.
fn rights() -> Value {
    json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}])
}

/// Creates a pod on a node, as the scheduler would have placed it.
fn pod(plane: &ControlPlane<'_>, name: &str, node: &str, annotations: &Value) -> Result<()> {
    let container = json!({"name": "main", "image": "none", "ports": [{"name": "http", "containerPort": 8000}]});
    let spec =
        json!({"nodeName": node, "containers": [container], "automountServiceAccountToken": false});
    let metadata = json!({"name": name, "annotations": annotations});
    plane.create(PODS, &json!({"metadata": metadata, "spec": spec})).map(drop)
}

/// Reports the state of a pod, as its kubelet would.
fn report(plane: &ControlPlane<'_>, name: &str, address: &str, is_ready: bool) -> Result<()> {
    let status = if is_ready { "True" } else { "False" };
    let object = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"},
        "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
                   "conditions": [{"type": "Ready", "status": status}]},
    });
    let path = format!("{PODS}/{name}/status?fieldManager=test&force=true");
    plane.send("PATCH", &path, Some(&object)).map(drop)
}

fn web(plane: &ControlPlane<'_>, name: &str, node: &str, address: &str) -> Result<()> {
    pod(plane, name, node, &json!({"portolan/name": "web", "portolan/meta.tier": "1"}))?;
    report(plane, name, address, true)
}

/// A cluster whose namespace can have pods.
fn cluster(env: &TestEnv) -> Result<ControlPlane<'_>> {
    let plane = ControlPlane::start(env)?;
    // No controller of the tests creates it.
    let account = json!({"metadata": {"name": "default"}});
    plane.create("/api/v1/namespaces/shop/serviceaccounts", &account)?;
    Ok(plane)
}

/// Starts the command for the pods of a node.
fn follow(env: &TestEnv, plane: &ControlPlane<'_>, node: &str) -> Result<Process> {
    let kubeconfig = plane.kubeconfig(BRIDGE)?.display().to_string();
    // Nothing expires during the test.
    let pods = ["kubernetes", "pods", "--ttl", "1h", "--node", node, "--kubeconfig", &kubeconfig];
    env.portolan(&pods)?.spawn(&format!("pods-{node}"))
}

#[test]
fn annotated_pods_of_each_node_are_registered_and_follow_their_readiness() {
    isolated(|env| {
        let plane = cluster(env)?;
        let _registry = env.settled_registry()?;
        web(&plane, "web-1", "n1", "10.1.1.1")?;
        web(&plane, "web-2", "n2", "10.1.2.2")?;
        pod(&plane, "other", "n1", &json!({"prometheus.io/port": "9090"}))?;
        pod(&plane, "wrong", "n1", &json!({"portolan/name": "web", "portolan/prot": "80"}))?;
        let mut first = follow(env, &plane, "n1")?;
        let line = first.wait_for_line("answers 403 Forbidden")?;
        ensure!(line.contains("pods.yaml"), "{line}");
        plane.grant(None, &rights())?;
        wait_addresses("shop", "web", &["10.1.1.1"])?;
        let problem = first.wait_for_line("Pod not registered")?;
        ensure!(problem.contains("wrong") && problem.contains("portolan/port?"), "{problem}");
        let found = &instances("shop", "web")?[0];
        ensure!(found["health"] == "passing" && found["port"] == 8000, "{found}");
        ensure!(found["protocol"] == "http" && found["metadata"]["tier"] == "1", "{found}");

        let _second = follow(env, &plane, "n2")?;
        wait_addresses("shop", "web", &["10.1.1.1", "10.1.2.2"])?;
        report(&plane, "web-1", "10.1.1.1", false)?;
        wait_addresses("shop", "web", &["10.1.2.2"])?;
        report(&plane, "web-1", "10.1.1.1", true)?;
        wait_addresses("shop", "web", &["10.1.1.1", "10.1.2.2"])?;
        // The kubelet, which does not run, would end it.
        plane.delete(&format!("{PODS}/web-1"))?;
        wait_for("the pod to be draining", || {
            let found = instances("shop", "web")?;
            let is_draining = |it: &Value| it["metadata"]["portolan.state"] == "draining";
            ensure!(found.iter().filter(|it| is_draining(it)).count() == 1, "{found:?}");
            Ok(())
        })?;
        plane.delete(&format!("{PODS}/web-1?gracePeriodSeconds=0"))?;
        wait_addresses("shop", "web", &["10.1.2.2"])
    });
}

#[test]
fn command_that_was_down_removes_what_is_gone_of_its_own_node_only() {
    isolated(|env| {
        let plane = cluster(env)?;
        let _registry = env.settled_registry()?;
        plane.grant(None, &rights())?;
        web(&plane, "web-1", "n1", "10.1.1.1")?;
        web(&plane, "web-2", "n2", "10.1.2.2")?;
        let (mut first, mut second) = (follow(env, &plane, "n1")?, follow(env, &plane, "n2")?);
        wait_addresses("shop", "web", &["10.1.1.1", "10.1.2.2"])?;
        first.kill()?;
        second.kill()?;
        for name in ["web-1", "web-2"] {
            plane.delete(&format!("{PODS}/{name}?gracePeriodSeconds=0"))?;
        }
        web(&plane, "web-3", "n1", "10.1.1.3")?;
        let _first = follow(env, &plane, "n1")?;
        // Nobody follows the other node, so nobody says that its pod is gone.
        wait_addresses("shop", "web", &["10.1.1.3", "10.1.2.2"])
    });
}

#[test]
fn import_and_pods_leave_what_the_other_has_registered() {
    isolated(|env| {
        let plane = cluster(env)?;
        let _registry = env.settled_registry()?;
        plane.grant(None, &rights())?;
        web(&plane, "web-1", "n1", "10.1.1.1")?;
        // The Service of the annotated pod, which the import is to leave out, and another one.
        let labels = json!({"portolan/import": "false"});
        let service = json!({"metadata": {"name": "web", "labels": labels}, "spec": {"ports": [{"port": 80}]}});
        plane.create("/api/v1/namespaces/shop/services", &service)?;
        plane.slice("shop", "web", "web", &[("10.1.1.1", ready())])?;
        plane.service("shop", "api")?;
        plane.slice("shop", "api", "api", &[("10.1.3.3", ready())])?;
        let _pods = follow(env, &plane, "n1")?;
        wait_addresses("shop", "web", &["10.1.1.1"])?;
        let before = instances("shop", "web")?[0]["revision"].clone();
        let mut import = started(env, &plane, &[])?;
        wait_addresses("shop", "api", &["10.1.3.3"])?;
        // It has compared everything by now: it registers and removes in one step.
        import.kill()?;
        let _import = started(env, &plane, &[])?;
        plane.slice("shop", "api", "api", &[("10.1.3.4", ready())])?;
        wait_addresses("shop", "api", &["10.1.3.4"])?;
        let found = instances("shop", "web")?;
        let only = found.first().filter(|_| found.len() == 1).context("not one instance")?;
        ensure!(only["revision"] == before, "{only}");
        Ok(())
    });
}

#[test]
fn name_of_a_node_is_validated() {
    isolated(|env| {
        let plane = cluster(env)?;
        let mut refused = follow(env, &plane, "n1,spec.nodeName!=n2")?;
        refused.wait(portolan_tests::TIMEOUT)?.exits(2).map(drop)
    });
}
