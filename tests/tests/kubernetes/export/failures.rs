//! What others do to the cluster and to the exporter.

use anyhow::ensure;
use portolan_tests::isolated;
use portolan_tests::kubernetes::{BRIDGE, ControlPlane};
use serde_json::{Value, json};

use super::super::ready;
use super::{SERVICES, deregister, endpoints, export, exporting, register, slices, wait_endpoints};

/// The rights of `packaging/kubernetes/export.yaml`.
fn rights() -> Value {
    json!([
        {"apiGroups": ["", "discovery.k8s.io"], "resources": ["services", "endpointslices"],
         "verbs": ["get", "list", "watch", "create", "patch", "delete"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
         "verbs": ["get", "list", "create", "patch", "delete"]},
    ])
}

#[test]
fn service_of_somebody_else_is_not_touched_and_its_name_is_used_once_it_is_gone() {
    isolated(|env| {
        let plane = ControlPlane::start(env)?;
        let _registry = env.settled_registry()?;
        plane.service("shop", "web")?;
        plane.slice("shop", "web", "web-1", &[("10.1.2.3", ready())])?;
        let before = plane.get(&format!("{SERVICES}/web"))?;
        register("web-1", "web", "10.9.0.7", 41000, &json!({}))?;
        register("api-1", "api", "10.9.0.7", 41001, &json!({}))?;
        let mut export = exporting(env, &plane, &[])?;
        let line = export.wait_for_line("that Portolan has not written")?;
        ensure!(line.contains("web"), "{line}");
        wait_endpoints(&plane, "api", &["10.9.0.7:41001 true"])?;
        ensure!(plane.get(&format!("{SERVICES}/web"))? == before, "it was changed");
        ensure!(endpoints(&plane, "web")? == ["10.1.2.3:8000 true"]);

        plane.delete(&format!("{SERVICES}/web"))?;
        plane.delete(&format!("{}/web-1", plane.slices_path("shop")))?;
        wait_endpoints(&plane, "web", &["10.9.0.7:41000 true"])
    });
}

#[test]
fn change_by_hand_is_undone() {
    isolated(|env| {
        let plane = ControlPlane::start(env)?;
        let _registry = env.settled_registry()?;
        register("web-1", "web", "10.9.0.7", 41000, &json!({}))?;
        let _export = exporting(env, &plane, &[])?;
        wait_endpoints(&plane, "web", &["10.9.0.7:41000 true"])?;
        let slice = slices(&plane, "web")?.remove(0);
        let name = slice["metadata"]["name"].as_str().unwrap_or_default();
        let mut edited = slice.clone();
        edited["endpoints"] = json!([]);
        // Lists leave out the kind of their items.
        edited["kind"] = json!("EndpointSlice");
        edited["apiVersion"] = json!("discovery.k8s.io/v1beta1");
        let path = format!("{}/{name}", plane.slices_path("shop"));
        plane.send("PUT", &path, Some(&edited))?;
        wait_endpoints(&plane, "web", &["10.9.0.7:41000 true"])?;
        plane.delete(&path)?;
        wait_endpoints(&plane, "web", &["10.9.0.7:41000 true"])?;
        plane.delete(&format!("{SERVICES}/web"))?;
        portolan_tests::wait_for("the Service", || plane.get(&format!("{SERVICES}/web")))?;
        // The slices belong to the new one.
        portolan_tests::wait_for("the owner", || {
            let service = plane.get(&format!("{SERVICES}/web"))?;
            let slices = slices(&plane, "web")?;
            let owner = &slices[0]["metadata"]["ownerReferences"][0]["uid"];
            ensure!(slices.len() == 1 && *owner == service["metadata"]["uid"], "{slices:?}");
            Ok(())
        })
    });
}

#[test]
fn missing_right_is_reported_and_used_once_it_is_granted() {
    isolated(|env| {
        let plane = ControlPlane::start(env)?;
        let _registry = env.settled_registry()?;
        register("web-1", "web", "10.9.0.7", 41000, &json!({}))?;
        let mut export = export(env, &plane, BRIDGE, &[])?;
        let line = export.wait_for_line("answers 403 Forbidden")?;
        ensure!(line.contains("Forbidden"), "{line}");
        plane.grant(Some("shop"), &rights())?;
        wait_endpoints(&plane, "web", &["10.9.0.7:41000 true"])
    });
}

#[test]
fn api_server_that_is_killed_gets_what_has_changed_once_it_is_back() {
    isolated(|env| {
        let mut plane = ControlPlane::start(env)?;
        let _registry = env.settled_registry()?;
        register("web-1", "web", "10.9.0.7", 41000, &json!({}))?;
        register("api-1", "api", "10.9.0.7", 41001, &json!({}))?;
        let mut export = exporting(env, &plane, &[])?;
        wait_endpoints(&plane, "web", &["10.9.0.7:41000 true"])?;
        wait_endpoints(&plane, "api", &["10.9.0.7:41001 true"])?;
        plane.kill_api()?;
        export.wait_for_line("Watch of the cluster interrupted")?;
        register("web-2", "web", "10.9.0.8", 41000, &json!({}))?;
        deregister("api-1")?;
        plane.start_api()?;
        wait_endpoints(&plane, "web", &["10.9.0.7:41000 true", "10.9.0.8:41000 true"])?;
        wait_endpoints(&plane, "api", &[])?;
        ensure!(slices(&plane, "web")?.len() == 1, "nothing is there twice");
        Ok(())
    });
}

#[test]
fn registry_that_is_lost_changes_nothing_until_it_is_back() {
    isolated(|env| {
        let plane = ControlPlane::start(env)?;
        let mut registry = env.settled_registry()?;
        register("web-1", "web", "10.9.0.7", 41000, &json!({}))?;
        register("api-1", "api", "10.9.0.7", 41001, &json!({}))?;
        let mut export = exporting(env, &plane, &[])?;
        wait_endpoints(&plane, "web", &["10.9.0.7:41000 true"])?;
        wait_endpoints(&plane, "api", &["10.9.0.7:41001 true"])?;
        registry.kill()?;
        export.wait_for_line("Registry unreachable")?;
        ensure!(endpoints(&plane, "web")? == ["10.9.0.7:41000 true"]);
        // What does not register again goes once the registry knows everything.
        let _registry = env.registry()?;
        register("web-1", "web", "10.9.0.7", 41000, &json!({}))?;
        export.wait_for_line("Registry answers again")?;
        wait_endpoints(&plane, "web", &["10.9.0.7:41000 true"])?;
        if env.starts_incomplete() {
            portolan_tests::wait_within(
                std::time::Duration::from_secs(60),
                "no endpoint of api",
                || {
                    let found = endpoints(&plane, "api")?;
                    ensure!(found.is_empty(), "{found:?}");
                    Ok(())
                },
            )?;
        }
        ensure!(endpoints(&plane, "web")? == ["10.9.0.7:41000 true"]);
        Ok(())
    });
}
