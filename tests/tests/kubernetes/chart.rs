//! The chart: Helm renders it, the API server accepts every member, and it says the same as the manifests.

use anyhow::{Context as _, Result, ensure};
use portolan_tests::kubernetes::ControlPlane;
use portolan_tests::{helm, isolated};
use serde_json::{Value, json};

use super::manifests::judge;

const ETCD: &str = "etcd.endpoints={http://etcd:2379}";
/// Values that switch on every part of the chart.
const EVERYTHING: [&str; 12] = [
    "store=etcd",
    ETCD,
    "export.enabled=true",
    "export.namespace=portolan-export",
    "export.services={web,db}",
    "export.networks={10.0.0.0/8}",
    "import.namespaces={portolan,portolan-export}",
    "pods.enabled=true",
    "pods.namespaces={portolan}",
    "networkPolicy.egress[0].ports[0].port=8080",
    "settings.PORTOLAN_LOGGING__LEVEL=debug",
    "allowedHosts={registry.example.org}",
];

#[test]
fn every_object_of_the_chart_is_accepted_with_every_member() {
    isolated(|env| {
        helm::lint()?;
        let plane = ControlPlane::start(env)?;
        for namespace in ["portolan", "portolan-export"] {
            plane.create("/api/v1/namespaces", &json!({"metadata": {"name": namespace}}))?;
        }
        for (values, workloads) in [(&[][..], 2), (&EVERYTHING[..], 4), (&["pods.enabled=true"], 3)]
        {
            let objects = helm::render(values)?;
            let kinds = ["StatefulSet", "Deployment", "DaemonSet"];
            let is_workload = |it: &&Value| kinds.iter().any(|kind| it["kind"] == *kind);
            ensure!(objects.iter().filter(is_workload).count() == workloads, "{values:?}");
            for object in objects {
                judge(&plane, &object).with_context(|| format!("{values:?}"))?;
            }
        }
        Ok(())
    });
}

fn registry(values: &[&str]) -> Result<Value> {
    let objects = helm::render(values)?;
    let has_name =
        |it: &&Value| it["metadata"]["name"] == "registry" && it["spec"]["template"].is_object();
    objects.iter().find(has_name).cloned().context("no registry")
}

#[test]
fn store_decides_between_a_set_with_a_volume_and_equal_servers() {
    isolated(|_| {
        let volume = registry(&[])?;
        ensure!(volume["kind"] == "StatefulSet" && volume["spec"]["replicas"] == 1, "{volume}");
        ensure!(volume["spec"]["volumeClaimTemplates"][0]["metadata"]["name"] == "data");
        let etcd = registry(&["store=etcd", ETCD, "replicas=3"])?;
        ensure!(etcd["kind"] == "Deployment" && etcd["spec"]["replicas"] == 3, "{etcd}");
        let container = &etcd["spec"]["template"]["spec"]["containers"][0];
        let variables = container["env"].as_array().context("no variables")?;
        let endpoints = json!({"name": "PORTOLAN_SERVICE_REGISTRY__ETCD__ENDPOINTS", "value": "[\"http://etcd:2379\"]"});
        ensure!(variables.contains(&endpoints), "{variables:?}");
        Ok(())
    });
}

#[test]
fn pods_of_a_node_are_registered_by_the_pod_of_the_set_on_that_node() {
    isolated(|_| {
        let objects = helm::render(&["pods.enabled=true"])?;
        let set = objects.iter().find(|it| it["kind"] == "DaemonSet").context("no set")?;
        let pod = &set["spec"]["template"]["spec"];
        let variables = pod["containers"][0]["env"].as_array().context("no variables")?;
        let node = json!({"name": "PORTOLAN_KUBERNETES_NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}});
        ensure!(variables.contains(&node), "{variables:?}");
        // Its rights: to read pods, and nothing else.
        let name = &pod["serviceAccountName"];
        let role = objects.iter().find(|it| {
            let role = format!("portolan-{}", name.as_str().unwrap_or_default());
            it["kind"] == "ClusterRole" && it["metadata"]["name"] == role.as_str()
        });
        let rules =
            json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]);
        ensure!(role.context("no role")?["rules"] == rules, "{role:?}");
        Ok(())
    });
}

#[test]
fn monitor_reads_the_metrics_with_the_token_of_the_registry() {
    isolated(|_| {
        let objects = helm::render(&["serviceMonitor.enabled=true"])?;
        let monitor = objects.iter().find(|it| it["kind"] == "ServiceMonitor");
        let endpoint = &monitor.context("no monitor")?["spec"]["endpoints"][0];
        ensure!(endpoint["path"] == "/metrics", "{endpoint}");
        ensure!(endpoint["authorization"]["credentials"]["name"] == "portolan-token", "{endpoint}");
        Ok(())
    });
}

#[test]
fn values_that_cannot_work_are_refused() {
    isolated(|_| {
        for (values, place) in [
            (&["store=etcd"][..], "/etcd/endpoints"),
            (&["store=memory"], "/store"),
            (&["export.enabled=true"], "/export/namespace"),
            (&["port=80"], "/port"),
            (&["settings.PATH=x"], "'PATH' does not match"),
            (&["replica=3"], "replica"),
            (&["pods.ttl=soon"], "/pods/ttl"),
        ] {
            let message = helm::refusal(values)?;
            ensure!(message.contains(place), "{values:?}: {message}");
        }
        Ok(())
    });
}
