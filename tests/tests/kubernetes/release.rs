//! The chart as a release: installed, upgraded and uninstalled by Helm in a real API server. No controllers run, so no pods either.

use anyhow::{Context as _, Result, ensure};
use portolan_tests::kubernetes::{ADMIN, ControlPlane};
use portolan_tests::{helm, isolated};
use serde_json::json;

const APPS: &str = "/apis/apps/v1/namespaces/portolan";
const CORE: &str = "/api/v1/namespaces/portolan";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// The names of the release's objects of every kind that the chart has, each as `kind/name`.
fn objects(plane: &ControlPlane<'_>) -> Result<Vec<String>> {
    let namespaced_rbac = format!("{RBAC}/namespaces/portolan");
    let networking = "/apis/networking.k8s.io/v1/namespaces/portolan";
    let policy = "/apis/policy/v1beta1/namespaces/portolan";
    let mut found = Vec::new();
    for (group, kinds) in [
        (APPS, &["statefulsets", "deployments", "daemonsets"][..]),
        (CORE, &["services", "serviceaccounts"]),
        (RBAC, &["clusterroles", "clusterrolebindings"]),
        (&namespaced_rbac, &["roles", "rolebindings"]),
        (networking, &["networkpolicies"]),
        (policy, &["poddisruptionbudgets"]),
    ] {
        for kind in kinds {
            let path =
                format!("{group}/{kind}?labelSelector=app.kubernetes.io/instance%3Dregistry");
            let list = plane.get(&path)?;
            let items = list["items"].as_array().with_context(|| list.to_string())?;
            let names = items.iter().filter_map(|it| it["metadata"]["name"].as_str());
            found.extend(names.map(|name| format!("{kind}/{name}")));
        }
    }
    Ok(found)
}

#[test]
fn release_is_installed_upgraded_and_removed_without_a_trace() {
    isolated(|env| {
        let plane = ControlPlane::start(env)?;
        plane.create("/api/v1/namespaces", &json!({"metadata": {"name": "portolan"}}))?;
        let token =
            json!({"metadata": {"name": "portolan-token"}, "stringData": {"token": "a-token"}});
        plane.create(&format!("{CORE}/secrets"), &token)?;
        let kubeconfig = plane.kubeconfig(ADMIN)?;

        helm::apply(&kubeconfig, "install", &[])?;
        let installed = objects(&plane)?;
        let expected = [
            "statefulsets/registry",
            "deployments/registry-import",
            "services/registry",
            "services/registry-pods",
            "serviceaccounts/registry",
            "serviceaccounts/registry-import",
            "clusterroles/portolan-registry-import",
            "clusterrolebindings/portolan-registry-import",
            "networkpolicies/registry",
            "poddisruptionbudgets/registry",
        ];
        ensure!(installed == expected, "{installed:?}");
        let address = plane.get(&format!("{CORE}/services/registry"))?["spec"]["clusterIP"].clone();

        // Another level of the log: the same set with another pod, and a Service that keeps its address.
        let values =
            ["settings.PORTOLAN_LOGGING__LEVEL=debug", "pods.enabled=true", "import.enabled=false"];
        helm::apply(&kubeconfig, "upgrade", &values)?;
        let upgraded = objects(&plane)?;
        ensure!(upgraded.contains(&"daemonsets/registry-pods".to_owned()), "{upgraded:?}");
        ensure!(!upgraded.iter().any(|name| name.ends_with("registry-import")), "{upgraded:?}");
        let set = plane.get(&format!("{APPS}/statefulsets/registry"))?;
        let variables = &set["spec"]["template"]["spec"]["containers"][0]["env"];
        ensure!(variables.to_string().contains("PORTOLAN_LOGGING__LEVEL"), "{variables}");
        let now = plane.get(&format!("{CORE}/services/registry"))?["spec"]["clusterIP"].clone();
        ensure!(now == address, "{now} in place of {address}");

        // From one server with a volume to equal servers over etcd: another kind of the same name.
        helm::apply(&kubeconfig, "upgrade", &["store=etcd", "etcd.endpoints={http://etcd:2379}"])?;
        let moved = objects(&plane)?;
        ensure!(moved.contains(&"deployments/registry".to_owned()), "{moved:?}");
        ensure!(!moved.contains(&"statefulsets/registry".to_owned()), "{moved:?}");
        ensure!(!moved.contains(&"daemonsets/registry-pods".to_owned()), "{moved:?}");

        helm::uninstall(&kubeconfig)?;
        let left = objects(&plane)?;
        ensure!(left.is_empty(), "{left:?}");
        // It is the administrator's, as the volume is.
        plane.get(&format!("{CORE}/secrets/portolan-token")).map(drop)
    });
}
