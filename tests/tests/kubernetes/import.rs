//! Services of a cluster as instances in a registry.

use anyhow::{Result, ensure};
use portolan_tests::kubernetes::ControlPlane;
use portolan_tests::{TestEnv, isolated};
use serde_json::json;

use super::{instances, ready, started, wait_addresses};

fn ready_endpoints_are_registered(env: &TestEnv, plane: &ControlPlane<'_>) -> Result<()> {
    let _registry = env.settled_registry()?;
    plane.service("shop", "web")?;
    let not_ready = json!({"ready": false});
    plane.slice(
        "shop",
        "web",
        "web-1",
        &[("10.1.2.3", ready()), ("10.1.2.4", not_ready.clone())],
    )?;
    let _import = started(env, plane, &[])?;
    wait_addresses("shop", "web", &["10.1.2.3"])?;
    let found = &instances("shop", "web")?[0];
    ensure!(found["health"] == "passing" && found["port"] == 8000, "{found}");
    ensure!(found["metadata"]["port.metrics"] == "9090", "{found}");

    for name in ["web.shop", "web.shop.svc", "web.shop.svc.cluster.local"] {
        let discover = ["discover", name, "--strategy", "registry"];
        let address = env.portolan(&discover)?.run()?.text()?;
        ensure!(address == "10.1.2.3:8000", "{name}: {address}");
    }
    let in_scope = ["--scope", "shop", "discover", "web", "--strategy", "registry"];
    ensure!(env.portolan(&in_scope)?.run()?.text()? == "10.1.2.3:8000", "in its scope");
    env.portolan(&["discover", "web", "--strategy", "registry"])?.run()?.exits(3)?;
    let kubeconfig = plane.kubeconfig(portolan_tests::kubernetes::ADMIN)?.display().to_string();
    let direct = ["kubernetes", "discover", "web.shop", "--kubeconfig", &kubeconfig];
    ensure!(env.portolan(&direct)?.run()?.text()? == "10.1.2.3:8000", "without a registry");

    plane.slice("shop", "web", "web-1", &[("10.1.2.3", not_ready), ("10.1.2.4", ready())])?;
    wait_addresses("shop", "web", &["10.1.2.4"])?;
    plane.slice("shop", "web", "web-2", &[("10.1.2.5", ready())])?;
    wait_addresses("shop", "web", &["10.1.2.4", "10.1.2.5"])?;
    plane.delete(&format!("{}/web-1", plane.slices_path("shop")))?;
    wait_addresses("shop", "web", &["10.1.2.5"])?;
    // The slices stay: nobody here removes those of a Service that is gone.
    plane.delete("/api/v1/namespaces/shop/services/web")?;
    wait_addresses("shop", "web", &[])
}

#[test]
fn ready_endpoints_of_services_are_registered_and_follow_the_slices() {
    isolated(|env| ready_endpoints_are_registered(env, &ControlPlane::start(env)?));
}

#[test]
fn slices_of_version_1_are_read_if_the_api_server_has_them() {
    isolated(|env| {
        let plane = ControlPlane::start_v1(env)?;
        ready_endpoints_are_registered(env, &plane)?;
        plane.service("shelf", "web")?;
        let draining = json!({"ready": false, "serving": true, "terminating": true});
        plane.slice("shelf", "web", "web-1", &[("10.1.2.3", draining)])?;
        let _registry = env.settled_registry()?;
        let _import = started(env, &plane, &["--namespace", "shelf"])?;
        wait_addresses("shelf", "web", &["10.1.2.3"])?;
        let found = &instances("shelf", "web")?[0];
        ensure!(found["metadata"]["portolan.state"] == "draining", "{found}");
        Ok(())
    });
}

#[test]
fn pod_behind_two_services_is_an_instance_of_both() {
    isolated(|env| {
        let plane = ControlPlane::start(env)?;
        let _registry = env.settled_registry()?;
        for name in ["web", "web-canary"] {
            plane.service("shop", name)?;
            plane.slice("shop", name, name, &[("10.1.2.3", ready())])?;
        }
        let import = started(env, &plane, &[])?;
        wait_addresses("shop", "web", &["10.1.2.3"])?;
        wait_addresses("shop", "web-canary", &["10.1.2.3"])?;
        // A second one is no rival, and the end of the first changes nothing.
        let _second = started(env, &plane, &[])?;
        drop(import);
        plane.slice("shop", "web", "web", &[("10.1.2.4", ready())])?;
        wait_addresses("shop", "web", &["10.1.2.4"])?;
        wait_addresses("shop", "web-canary", &["10.1.2.3"])
    });
}

#[test]
fn missing_program_is_reported_with_a_remedy() {
    isolated(|env| {
        let alone = env.directory().join("portolan");
        std::fs::copy(portolan_tests::portolan_program()?, &alone)?;
        let mut command = std::process::Command::new(&alone);
        let output = command.args(["kubernetes", "import"]).env("PATH", "/nowhere").output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(2), "{error}");
        ensure!(error.contains("neither beside portolan nor on the PATH"), "{error}");
        ensure!(error.contains("cargo build --release -p portolan-kubernetes"), "{error}");
        Ok(())
    });
}
