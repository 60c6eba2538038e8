//! Services of the registry as Services and endpoint slices of a real API server.

mod failures;
mod load;
mod replicas;

use anyhow::{Context as _, Result, ensure};
use portolan_tests::kubernetes::{ADMIN, ControlPlane};
use portolan_tests::{Process, REGISTRY, TestEnv, http, isolated, wait_for};
use serde_json::{Value, json};

use super::{ready, started, wait_addresses};

const SERVICES: &str = "/api/v1/namespaces/shop/services";

/// Starts `portolan kubernetes export` with the credentials of this token.
fn export(
    env: &TestEnv,
    plane: &ControlPlane<'_>,
    token: &str,
    options: &[&str],
) -> Result<Process> {
    let kubeconfig = plane.kubeconfig(token)?.display().to_string();
    let export = ["kubernetes", "export", "--kubeconfig", &kubeconfig, "--lease", "3s"];
    env.portolan(&export)?.args(options).spawn("export")
}

/// Starts it as the administrator, and waits until it exports.
fn exporting(env: &TestEnv, plane: &ControlPlane<'_>, options: &[&str]) -> Result<Process> {
    let mut export = export(env, plane, ADMIN, options)?;
    export.wait_for_line("Lease taken")?;
    Ok(export)
}

/// Registers an instance of a service, or registers it again.
fn register(id: &str, name: &str, host: &str, port: u16, metadata: &Value) -> Result<()> {
    register_for(id, name, host, port, metadata, 600)
}

fn register_for(
    id: &str,
    name: &str,
    host: &str,
    port: u16,
    metadata: &Value,
    ttl: u64,
) -> Result<()> {
    let body = json!({"name": name, "host": host, "port": port, "protocol": "http", "metadata": metadata, "ttl": ttl});
    put(&format!("services/{id}"), &body)
}

fn put(path: &str, body: &Value) -> Result<()> {
    let url = format!("{REGISTRY}/api/v1/{path}");
    let response = http::client()?.put(url).json(body).send()?;
    let status = response.status();
    ensure!(status.is_success(), "{path}: {status}: {}", response.text()?);
    Ok(())
}

fn deregister(id: &str) -> Result<()> {
    let url = format!("{REGISTRY}/api/v1/services/{id}");
    http::client()?.delete(url).send()?.error_for_status()?;
    Ok(())
}

/// Returns the slices of a Service.
fn slices(plane: &ControlPlane<'_>, service: &str) -> Result<Vec<Value>> {
    let selector = format!("labelSelector=kubernetes.io/service-name%3D{service}");
    let list = plane.get(&format!("{}?{selector}", plane.slices_path("shop")))?;
    list["items"].as_array().cloned().with_context(|| list.to_string())
}

/// Returns each endpoint of a Service as `ADDRESS:PORT READY`, in order.
fn endpoints(plane: &ControlPlane<'_>, service: &str) -> Result<Vec<String>> {
    let mut endpoints = Vec::new();
    for slice in slices(plane, service)? {
        let port = &slice["ports"][0]["port"];
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            let address = endpoint["addresses"][0].as_str().unwrap_or_default();
            endpoints.push(format!("{address}:{port} {}", endpoint["conditions"]["ready"]));
        }
    }
    endpoints.sort();
    Ok(endpoints)
}

/// Waits until a Service has exactly these endpoints.
fn wait_endpoints(plane: &ControlPlane<'_>, service: &str, expected: &[&str]) -> Result<()> {
    wait_for(&format!("the endpoints {expected:?} of {service}"), || {
        let found = endpoints(plane, service)?;
        ensure!(found == expected, "{found:?}");
        Ok(())
    })
}

fn wait_no_service(plane: &ControlPlane<'_>, name: &str) -> Result<()> {
    wait_for(&format!("no Service {name}"), || {
        let list = plane.get(SERVICES)?;
        let mut names =
            list["items"].as_array().into_iter().flatten().map(|it| &it["metadata"]["name"]);
        ensure!(!names.any(|it| it == name), "{list}");
        Ok(())
    })
}

fn services_are_shown(env: &TestEnv, plane: &ControlPlane<'_>) -> Result<()> {
    let _registry = env.settled_registry()?;
    register("web-1", "web", "10.9.0.7", 41000, &json!({"port.metrics": "9100"}))?;
    register("local-1", "local", "127.0.0.1", 41001, &json!({}))?;
    let mut export = exporting(env, plane, &["--keep", "1s"])?;
    wait_endpoints(plane, "web", &["10.9.0.7:41000 true"])?;
    let refused = export.wait_for_line("Instance is not exported")?;
    ensure!(refused.contains("local-1") && refused.contains("loopback"), "{refused}");
    ensure!(endpoints(plane, "local")?.is_empty());

    let service = plane.get(&format!("{SERVICES}/web"))?;
    let ports = &service["spec"]["ports"];
    ensure!(ports[0]["name"] == "http" && ports[0]["port"] == 80, "{service}");
    ensure!(ports[1]["name"] == "metrics" && ports[1]["port"] == 9100, "{service}");
    ensure!(service["spec"].get("selector").is_none(), "{service}");
    ensure!(service["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "portolan");
    let slice = &slices(plane, "web")?[0];
    let labels = &slice["metadata"]["labels"];
    ensure!(labels["endpointslice.kubernetes.io/managed-by"] == "portolan", "{slice}");
    ensure!(slice["metadata"]["ownerReferences"][0]["uid"] == service["metadata"]["uid"]);

    register("web-2", "web", "10.9.0.8", 41000, &json!({"port.metrics": "9100"}))?;
    wait_endpoints(plane, "web", &["10.9.0.7:41000 true", "10.9.0.8:41000 true"])?;
    ensure!(slices(plane, "web")?.len() == 1, "one set of ports");
    put("services/web-1/health", &json!({"status": "critical"}))?;
    wait_endpoints(plane, "web", &["10.9.0.7:41000 false", "10.9.0.8:41000 true"])?;
    let draining = json!({"port.metrics": "9100", "portolan.state": "draining"});
    register("web-2", "web", "10.9.0.8", 41000, &draining)?;
    wait_endpoints(plane, "web", &["10.9.0.7:41000 false", "10.9.0.8:41000 false"])?;
    deregister("web-1")?;
    wait_endpoints(plane, "web", &["10.9.0.8:41000 false"])?;

    // Its lease ends: the slice goes, and the Service a second later.
    register_for("web-2", "web", "10.9.0.8", 41000, &json!({}), 1)?;
    wait_endpoints(plane, "web", &[])?;
    ensure!(slices(plane, "web")?.is_empty());
    wait_no_service(plane, "web")
}

#[test]
fn services_of_the_registry_are_services_with_slices_until_they_leave() {
    isolated(|env| services_are_shown(env, &ControlPlane::start(env)?));
}

#[test]
fn slices_of_version_1_are_written_if_the_api_server_has_them() {
    isolated(|env| {
        let plane = ControlPlane::start_v1(env)?;
        services_are_shown(env, &plane)?;
        let _registry = env.settled_registry()?;
        let draining = json!({"portolan.state": "draining"});
        register("api-1", "api", "10.9.0.7", 41000, &draining)?;
        let _export = exporting(env, &plane, &["--headless", "api"])?;
        wait_endpoints(&plane, "api", &["10.9.0.7:41000 false"])?;
        let slice = &slices(&plane, "api")?[0];
        let conditions = &slice["endpoints"][0]["conditions"];
        ensure!(conditions["serving"] == true && conditions["terminating"] == true, "{slice}");
        let service = plane.get(&format!("{SERVICES}/api"))?;
        ensure!(service["spec"]["clusterIP"] == "None", "{service}");
        Ok(())
    });
}

#[test]
fn what_was_imported_is_not_exported_and_what_was_exported_is_not_imported() {
    isolated(|env| {
        let plane = ControlPlane::start(env)?;
        let _registry = env.settled_registry()?;
        plane.service("shop", "api")?;
        plane.slice("shop", "api", "api-1", &[("10.1.2.3", ready())])?;
        register("web-1", "web", "10.9.0.7", 41000, &json!({"scope": "shop"}))?;
        let _import = started(env, &plane, &[])?;
        wait_addresses("shop", "api", &["10.1.2.3"])?;
        let kubeconfig = plane.kubeconfig(ADMIN)?.display().to_string();
        let export = ["--scope", "shop", "kubernetes", "export", "--kubeconfig", &kubeconfig];
        let mut export = env.portolan(&export)?.spawn("export")?;
        export.wait_for_line("Lease taken")?;
        wait_endpoints(&plane, "web", &["10.9.0.7:41000 true"])?;
        // Both have seen everything once these have passed through them.
        plane.slice("shop", "api", "api-1", &[("10.1.2.4", ready())])?;
        wait_addresses("shop", "api", &["10.1.2.4"])?;
        register("web-2", "web", "10.9.0.8", 41000, &json!({"scope": "shop"}))?;
        wait_endpoints(&plane, "web", &["10.9.0.7:41000 true", "10.9.0.8:41000 true"])?;
        wait_addresses("shop", "web", &["10.9.0.7", "10.9.0.8"])?;
        let api = slices(&plane, "api")?;
        ensure!(api.len() == 1 && api[0]["metadata"]["name"] == "api-1", "{api:?}");
        Ok(())
    });
}

#[test]
fn slices_have_at_most_100_endpoints_and_one_change_is_one_write() {
    isolated(|env| {
        let plane = ControlPlane::start(env)?;
        let _registry = env.settled_registry()?;
        for number in 0..250 {
            let host = format!("10.9.{}.{}", number / 100, number % 100 + 1);
            register(&format!("web-{number}"), "web", &host, 41000, &json!({}))?;
        }
        let _export = exporting(env, &plane, &[])?;
        let sizes = |slices: &[Value]| {
            let size = |it: &Value| it["endpoints"].as_array().map_or(0, Vec::len);
            let mut sizes: Vec<_> = slices.iter().map(size).collect();
            sizes.sort_unstable();
            sizes
        };
        let before = wait_for("all endpoints", || {
            let slices = slices(&plane, "web")?;
            ensure!(sizes(&slices) == [50, 100, 100], "{:?}", sizes(&slices));
            Ok(slices)
        })?;
        deregister("web-120")?;
        let after = wait_for("one endpoint less", || {
            let slices = slices(&plane, "web")?;
            ensure!(sizes(&slices).iter().sum::<usize>() == 249, "{:?}", sizes(&slices));
            Ok(slices)
        })?;
        let version = |slice: &Value| slice["metadata"]["resourceVersion"].clone();
        let versions: Vec<_> = before.iter().map(version).collect();
        let changed = after.iter().filter(|it| !versions.contains(&version(it))).count();
        ensure!(changed == 1, "{changed} slices were written");
        Ok(())
    });
}
