#![allow(clippy::needless_pass_by_value, reason = "literals of JSON")]

use portolan_core::Ttl;
use serde_json::{Value, json};

use super::*;

fn pod(annotations: Value) -> Value {
    json!({
        "metadata": {"name": "web-x", "namespace": "shop", "annotations": annotations,
                     "labels": {"app.kubernetes.io/version": "2"}},
        "spec": {"nodeName": "n1", "containers": [
            {"ports": [{"name": "http-main", "containerPort": 8000}, {"name": "dns", "containerPort": 53, "protocol": "UDP"}]}]},
        "status": {"conditions": [{"type": "Ready", "status": "True"}],
                   "podIP": "10.1.2.3", "podIPs": [{"ip": "10.1.2.3"}, {"ip": "fd00::3"}]},
    })
}

fn instance(pod: Value) -> Result<Option<Registration>, String> {
    let naming = Naming {
        cluster: "test".parse().unwrap(),
        scope_prefix: "prod-".to_owned(),
        ttl: Ttl::DEFAULT,
    };
    let pod: Pod = serde_json::from_value(pod).unwrap();
    naming.pod_instance(&pod).map_err(|error| error.to_string())
}

#[test]
fn annotated_pod_that_is_ready_is_an_instance() {
    let web =
        instance(pod(json!({"portolan/name": "web", "portolan/meta.tier": "1", "other": "x"})));
    let web = web.unwrap().unwrap();
    assert_eq!(web.id().as_str(), "test:shop:pod.web-x:web");
    assert_eq!((web.scope.as_str(), web.version.as_str(), web.port), ("prod-shop", "2", 8000));
    assert_eq!(
        (web.host.to_string(), web.addresses[0].to_string()),
        ("10.1.2.3".into(), "fd00::3".into())
    );
    assert_eq!(web.protocol.as_str(), "http");
    let expected = [
        ("checked_by", "agent"),
        ("kubernetes.cluster", "test"),
        ("kubernetes.namespace", "shop"),
        ("kubernetes.node", "n1"),
        ("kubernetes.pod", "web-x"),
        ("kubernetes.registrant", "pods"),
        ("port.dns", "53"),
        ("port.http-main", "8000"),
        ("tier", "1"),
    ];
    let mut found: Vec<(String, String)> =
        web.metadata.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    found.sort();
    assert_eq!(found, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
}

#[test]
fn annotations_decide_over_what_the_pod_declares() {
    let annotations =
        json!({"portolan/name": "web", "portolan/port": "dns", "portolan/version": "3"});
    let by_name = instance(pod(annotations)).unwrap().unwrap();
    assert_eq!(
        (by_name.port, by_name.protocol.as_str(), by_name.version.as_str()),
        (53, "udp", "3")
    );
    let annotations =
        json!({"portolan/name": "web", "portolan/port": "9000", "portolan/protocol": "grpc"});
    let undeclared = instance(pod(annotations)).unwrap().unwrap();
    assert_eq!((undeclared.port, undeclared.protocol.as_str()), (9000, "grpc"));
}

#[test]
fn pod_without_annotations_or_address_or_readiness_is_none() {
    assert!(instance(pod(json!({"prometheus.io/port": "1"}))).unwrap().is_none());
    let named = || pod(json!({"portolan/name": "web"}));
    for (place, value) in [
        ("/status/conditions/0/status", json!("False")),
        ("/status/conditions", json!([])),
        ("/status", json!({"conditions": [{"type": "Ready", "status": "True"}]})),
    ] {
        let mut pod = named();
        *pod.pointer_mut(place).unwrap() = value;
        assert!(instance(pod).unwrap().is_none(), "{place}");
    }
}

#[test]
fn pod_that_ends_is_draining_while_it_is_ready() {
    let mut ending = pod(json!({"portolan/name": "web"}));
    ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let draining = instance(ending).unwrap().unwrap();
    assert_eq!(draining.metadata.get("portolan.state"), Some("draining"));
}

#[test]
fn annotation_that_cannot_be_used_is_named() {
    for (annotations, expected) in [
        (
            json!({"portolan/port": "80"}),
            "\"portolan/port\": the annotation portolan/name is missing",
        ),
        (json!({"portolan/name": "not a name"}), "annotation \"portolan/name\": "),
        (json!({"portolan/name": "web", "portolan/prot": "80"}), "did you mean portolan/port?"),
        (
            json!({"portolan/name": "web", "portolan/scope": "other"}),
            "one of name, port, protocol, version or meta.KEY",
        ),
        (
            json!({"portolan/name": "web", "portolan/port": "0"}),
            "\"0\" is neither a port nor the name",
        ),
        (
            json!({"portolan/name": "web", "portolan/port": "metrics"}),
            "\"metrics\" is neither a port nor the name",
        ),
        (
            json!({"portolan/name": "web", "portolan/meta.kubernetes.node": "n2"}),
            "Portolan sets this entry",
        ),
        (
            json!({"portolan/name": "web", "portolan/meta.port.http": "22"}),
            "Portolan sets this entry",
        ),
    ] {
        let problem = instance(pod(annotations)).unwrap_err();
        assert!(problem.contains(expected), "{problem}");
    }
    for (ports, expected) in [
        (
            json!([{"containerPort": 80}, {"containerPort": 81}]),
            "the containers declare several: 80, 81",
        ),
        (json!([]), "no container declares a TCP port"),
    ] {
        let mut pod = pod(json!({"portolan/name": "web"}));
        pod["spec"]["containers"][0]["ports"] = ports;
        let problem = instance(pod).unwrap_err();
        assert!(problem.contains(expected), "{problem}");
    }
}
