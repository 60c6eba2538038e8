//! Exporters that end, and several of them.

use anyhow::{Result, ensure};
use portolan_tests::isolated;
use portolan_tests::kubernetes::{ADMIN, ControlPlane};
use serde_json::{Value, json};

use super::{
    SERVICES, deregister, endpoints, export, exporting, register, slices, wait_endpoints,
    wait_no_service,
};

#[test]
fn exporter_that_was_killed_goes_on_where_it_was_and_removes_what_has_left() {
    isolated(|env| {
        let plane = ControlPlane::start(env)?;
        let _registry = env.settled_registry()?;
        register("web-1", "web", "10.9.0.7", 41000, &json!({}))?;
        register("api-1", "api", "10.9.0.7", 41001, &json!({}))?;
        let mut first = exporting(env, &plane, &[])?;
        wait_endpoints(&plane, "web", &["10.9.0.7:41000 true"])?;
        wait_endpoints(&plane, "api", &["10.9.0.7:41001 true"])?;
        let state = |plane: &ControlPlane<'_>| -> Result<[Value; 2]> {
            let service = plane.get(&format!("{SERVICES}/web"))?["metadata"].clone();
            let slice = slices(plane, "web")?[0]["metadata"].clone();
            Ok([service["resourceVersion"].clone(), slice["resourceVersion"].clone()])
        };
        let before = state(&plane)?;
        first.kill()?;
        deregister("api-1")?;
        let _second = exporting(env, &plane, &["--keep", "0s"])?;
        wait_no_service(&plane, "api")?;
        ensure!(endpoints(&plane, "api")?.is_empty(), "its slice has gone before");
        ensure!(state(&plane)? == before, "what had not changed was written");
        Ok(())
    });
}

#[test]
fn replica_takes_over_when_the_other_one_ends() {
    isolated(|env| {
        let plane = ControlPlane::start(env)?;
        let _registry = env.settled_registry()?;
        register("web-1", "web", "10.9.0.7", 41000, &json!({}))?;
        let mut first = exporting(env, &plane, &[])?;
        wait_endpoints(&plane, "web", &["10.9.0.7:41000 true"])?;
        let mut second = export(env, &plane, ADMIN, &[])?;
        second.wait_for_line("Another replica exports")?;
        first.terminate()?.exits(0)?;
        second.wait_for_line("Lease taken")?;
        ensure!(endpoints(&plane, "web")? == ["10.9.0.7:41000 true"], "it has stayed");
        register("web-2", "web", "10.9.0.8", 41000, &json!({}))?;
        wait_endpoints(&plane, "web", &["10.9.0.7:41000 true", "10.9.0.8:41000 true"])
    });
}

#[test]
fn objects_of_an_exporter_that_is_gone_are_removed_by_another_once_its_lease_has_ended() {
    isolated(|env| {
        let plane = ControlPlane::start(env)?;
        let _registry = env.settled_registry()?;
        register("web-1", "web", "10.9.0.7", 41000, &json!({}))?;
        register("api-1", "api", "10.9.0.7", 41001, &json!({}))?;
        let mut laptop = exporting(env, &plane, &["--name", "laptop", "web"])?;
        wait_endpoints(&plane, "web", &["10.9.0.7:41000 true"])?;
        let mut other = exporting(env, &plane, &["--name", "other"])?;
        wait_endpoints(&plane, "api", &["10.9.0.7:41001 true"])?;
        let line = other.wait_for_line("belongs to the exporter laptop")?;
        ensure!(line.contains("web"), "{line}");
        let uid = |plane: &ControlPlane<'_>| -> Result<Value> {
            Ok(plane.get(&format!("{SERVICES}/web"))?["metadata"]["uid"].clone())
        };
        let before = uid(&plane)?;
        laptop.kill()?;
        other.wait_for_line("Lease of an exporter has ended")?;
        // It is free for the other one now, which exports every service.
        wait_endpoints(&plane, "web", &["10.9.0.7:41000 true"])?;
        portolan_tests::wait_for("another Service", || {
            ensure!(uid(&plane)? != before);
            Ok(())
        })
    });
}

#[test]
fn exporter_that_is_to_leave_nothing_removes_its_objects_and_its_lease() {
    isolated(|env| {
        let plane = ControlPlane::start(env)?;
        let _registry = env.settled_registry()?;
        register("web-1", "web", "10.9.0.7", 41000, &json!({}))?;
        let mut export = exporting(env, &plane, &["--remove-on-exit"])?;
        wait_endpoints(&plane, "web", &["10.9.0.7:41000 true"])?;
        export.terminate()?.exits(0)?;
        ensure!(slices(&plane, "web")?.is_empty());
        wait_no_service(&plane, "web")?;
        let leases = plane.get("/apis/coordination.k8s.io/v1/namespaces/shop/leases")?;
        ensure!(leases["items"] == json!([]), "{leases}");
        Ok(())
    });
}
