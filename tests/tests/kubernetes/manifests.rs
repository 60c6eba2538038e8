//! The manifests of `packaging/kubernetes`: the API server accepts every member of them, and their command lines start a registry.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use portolan_tests::kubernetes::ControlPlane;
use portolan_tests::{Process, TestEnv, etcd, http, isolated, wait_for};
use serde_json::{Value, json};

/// The version, the name and the path of each kind, in the namespace `portolan`.
const KINDS: [(&str, &str, &str); 12] = [
    ("v1", "Namespace", "/api/v1/namespaces"),
    ("v1", "ServiceAccount", "/api/v1/namespaces/portolan/serviceaccounts"),
    ("v1", "Service", "/api/v1/namespaces/portolan/services"),
    ("apps/v1", "StatefulSet", "/apis/apps/v1/namespaces/portolan/statefulsets"),
    ("apps/v1", "DaemonSet", "/apis/apps/v1/namespaces/portolan/daemonsets"),
    ("apps/v1", "Deployment", "/apis/apps/v1/namespaces/portolan/deployments"),
    // The API server of the tests, 1.20, has no `policy/v1`, which has the same members.
    (
        "policy/v1",
        "PodDisruptionBudget",
        "/apis/policy/v1beta1/namespaces/portolan/poddisruptionbudgets",
    ),
    (
        "networking.k8s.io/v1",
        "NetworkPolicy",
        "/apis/networking.k8s.io/v1/namespaces/portolan/networkpolicies",
    ),
    (
        "rbac.authorization.k8s.io/v1",
        "ClusterRole",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    ),
    (
        "rbac.authorization.k8s.io/v1",
        "ClusterRoleBinding",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    ),
    (
        "rbac.authorization.k8s.io/v1",
        "Role",
        "/apis/rbac.authorization.k8s.io/v1/namespaces/portolan/roles",
    ),
    (
        "rbac.authorization.k8s.io/v1",
        "RoleBinding",
        "/apis/rbac.authorization.k8s.io/v1/namespaces/portolan/rolebindings",
    ),
];
const FILES: [&str; 7] = [
    "registry.yaml",
    "registry-etcd.yaml",
    "import.yaml",
    "rbac.yaml",
    "export.yaml",
    "pods.yaml",
    "sidecar.yaml",
];
const TOKEN: &str = "a-token-of-sixteen-bytes-or-more";

fn objects(file: &str) -> Result<Vec<Value>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/kubernetes").join(file);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let documents = text.split("\n---\n");
    documents.map(|text| Ok(serde_saphyr::from_str(text)?)).collect()
}

/// Has the API server judge an object, without storing it. Members that it does not know it leaves out.
pub(super) fn judge(plane: &ControlPlane<'_>, object: &Value) -> Result<()> {
    let is_kind =
        |row: &&(&str, &str, &str)| object["apiVersion"] == row.0 && object["kind"] == row.1;
    let (_, _, path) = KINDS.iter().find(is_kind).with_context(|| format!("unknown: {object}"))?;
    let mut sent = object.clone();
    if path.starts_with("/apis/policy/v1beta1") {
        sent["apiVersion"] = json!("policy/v1beta1");
    }
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or("portolan");
    let path = path.replace("/namespaces/portolan/", &format!("/namespaces/{namespace}/"));
    let answer = plane.send("POST", &format!("{path}?dryRun=All"), Some(&sent))?;
    let mut missing = Vec::new();
    compare(&sent, &answer, "", &mut missing);
    ensure!(missing.is_empty(), "the API server does not know {missing:?} of {}", object["kind"]);
    Ok(())
}

/// Lists what was sent and is not in the answer.
fn compare(sent: &Value, answer: &Value, path: &str, missing: &mut Vec<String>) {
    match (sent, answer) {
        (Value::Object(sent), Value::Object(answer)) => {
            for (key, value) in sent {
                let is_empty = value.as_array().is_some_and(Vec::is_empty)
                    || value.as_object().is_some_and(serde_json::Map::is_empty);
                match answer.get(key) {
                    Some(answer) => compare(value, answer, &format!("{path}.{key}"), missing),
                    None if is_empty => {}
                    None => missing.push(format!("{path}.{key}")),
                }
            }
        }
        (Value::Array(sent), Value::Array(answer)) if sent.len() == answer.len() => {
            for (index, (sent, answer)) in sent.iter().zip(answer).enumerate() {
                compare(sent, answer, &format!("{path}[{index}]"), missing);
            }
        }
        (sent, answer) if sent == answer => {}
        _ => missing.push(path.to_owned()),
    }
}

#[test]
fn manifests_are_accepted_with_every_member() {
    isolated(|env| {
        let plane = ControlPlane::start(env)?;
        for namespace in ["portolan", "portolan-export"] {
            plane.create("/api/v1/namespaces", &json!({"metadata": {"name": namespace}}))?;
        }
        for file in FILES {
            for object in objects(file)? {
                // They exist.
                if object["kind"] != "Namespace" {
                    judge(&plane, &object).context(file)?;
                }
            }
        }
        // A slip would be found.
        let mut workload = workload("registry.yaml")?;
        let container = &mut workload["spec"]["template"]["spec"]["containers"][0];
        container["readinesProbe"] = container["readinessProbe"].clone();
        let slip = judge(&plane, &workload).unwrap_err().to_string();
        ensure!(slip.contains("readinesProbe"), "{slip}");
        Ok(())
    });
}

fn workload(file: &str) -> Result<Value> {
    let is_workload = |it: &Value| it["kind"] == "StatefulSet" || it["kind"] == "Deployment";
    objects(file)?.into_iter().find(is_workload).context("no workload")
}

/// Starts the container of a manifest, with the directory of the test in place of its volumes.
fn start(env: &TestEnv, file: &str, changed: &[(&str, &str)]) -> Result<Process> {
    let workload = workload(file)?;
    let container = &workload["spec"]["template"]["spec"]["containers"][0];
    let data = env.folder("volume")?.join("data").display().to_string();
    let arguments = container["args"].as_array().context("no arguments")?;
    let arguments: Vec<String> = arguments
        .iter()
        .filter_map(Value::as_str)
        .map(|it| it.replace("/var/lib/portolan/data", &data))
        .collect();
    // The tests run as root.
    let mut command =
        env.portolan(&arguments)?.env("PORTOLAN_SERVICE_REGISTRY__ALLOW_ROOT", "true");
    for variable in container["env"].as_array().context("no variables")? {
        let name = variable["name"].as_str().context("no name")?;
        let value = variable["value"].as_str().context("no value")?;
        let other = changed.iter().find(|(it, _)| *it == name).map(|(_, value)| *value);
        command = command.env(name, other.unwrap_or(value));
    }
    command.spawn(file)
}

#[test]
fn containers_of_the_manifests_serve_under_the_name_of_their_service() {
    isolated(|env| {
        let token = env.write("token", TOKEN)?;
        fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o440))?;
        let token = token.display().to_string();
        let _etcd = etcd::start(env)?;
        let endpoints = json!([etcd::ETCD]).to_string();
        let runtime = env.directory().join("runtime").display().to_string();
        let changed = [
            // /dev/shm is that of the pod, and here that of all tests.
            ("PORTOLAN_PORT_ALLOCATOR__RUNTIME_DIR", runtime.as_str()),
            ("PORTOLAN_TOKEN_FILE", token.as_str()),
            ("PORTOLAN_SERVICE_REGISTRY__ETCD__ENDPOINTS", &endpoints),
        ];
        for file in ["registry.yaml", "registry-etcd.yaml"] {
            let mut registry = start(env, file, &changed)?;
            registry.wait_until("the registry to be ready", || {
                http::get("http://127.0.0.1:7000/readyz")
            })?;
            let list = |host: &str| {
                let header = format!("Host: {host}:7000");
                let bearer = format!("Authorization: Bearer {TOKEN}");
                let url = "http://127.0.0.1:7000/api/v1/services";
                let curl = [
                    "-s",
                    "-o",
                    "/dev/null",
                    "-w",
                    "%{http_code}",
                    "-H",
                    &header,
                    "-H",
                    &bearer,
                    url,
                ];
                let mut command = std::process::Command::new("curl");
                command.args(curl);
                env.spawn("curl", command)?.wait(portolan_tests::TIMEOUT)?.text()
            };
            ensure!(list("portolan.portolan.svc")? == "200", "{}", list("portolan.portolan.svc")?);
            ensure!(list("elsewhere.test")? != "200");
            registry.terminate()?.exits(0)?;
            wait_for("the port to be free", || env.foreign_listener(7000).map(drop))?;
        }
        Ok(())
    });
}
