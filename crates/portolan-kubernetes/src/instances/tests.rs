#![allow(clippy::needless_pass_by_value, reason = "literals of JSON")]

use serde_json::{Value, json};

use super::*;

fn naming() -> Naming {
    Naming { cluster: "test".parse().unwrap(), scope_prefix: String::new(), ttl: Ttl::DEFAULT }
}

fn service() -> Value {
    json!({"metadata": {"name": "web", "namespace": "shop", "labels": {"app.kubernetes.io/version": "2"}},
           "spec": {"ports": [{"name": "http", "port": 80}, {"name": "metrics", "port": 81}]}})
}

fn slice(endpoints: Value) -> Value {
    json!({"metadata": {"name": "web-1", "namespace": "shop", "labels": {}}, "addressType": "IPv4",
           "ports": [{"name": "metrics", "port": 9090, "protocol": "TCP"}, {"name": "http", "port": 8000}],
           "endpoints": endpoints})
}

fn instances(service: Value, slices: Vec<Value>) -> Vec<Registration> {
    let service = serde_json::from_value(service).unwrap();
    let slices: Vec<EndpointSlice> =
        slices.into_iter().map(|slice| serde_json::from_value(slice).unwrap()).collect();
    naming().instances(&service, slices.iter()).into_values().collect()
}

fn ready(conditions: Value) -> Vec<Registration> {
    let endpoint = json!([{"addresses": ["10.1.2.3"], "conditions": conditions}]);
    instances(service(), vec![slice(endpoint)])
}

#[test]
fn first_port_of_the_service_is_the_port_and_the_others_are_named() {
    let endpoint = json!([{"addresses": ["10.1.2.3"], "conditions": {"ready": true},
        "targetRef": {"kind": "Pod", "name": "web-x"}, "topology": {"kubernetes.io/hostname": "n1"}, "zone": "z1"}]);
    let [web] = &instances(service(), vec![slice(endpoint)])[..] else { panic!() };
    assert_eq!(web.id().as_str(), "test:shop:web:web-x");
    assert_eq!((web.name.as_str(), web.scope.as_str(), web.version.as_str()), ("web", "shop", "2"));
    assert_eq!((web.host.to_string().as_str(), web.port), ("10.1.2.3", 8000));
    assert_eq!(web.protocol.as_str(), "http");
    let expected = [
        ("checked_by", "agent"),
        ("kubernetes.cluster", "test"),
        ("kubernetes.namespace", "shop"),
        ("kubernetes.node", "n1"),
        ("kubernetes.pod", "web-x"),
        ("port.http", "8000"),
        ("port.metrics", "9090"),
        ("zone", "z1"),
    ];
    let metadata: Vec<_> = web.metadata.iter().collect();
    assert_eq!(metadata, expected);
}

#[test]
fn conditions_decide_whether_an_endpoint_is_registered() {
    let state = |conditions| match &ready(conditions)[..] {
        [] => "none",
        [one] if one.metadata.contains_key("portolan.state") => "draining",
        [_] => "ready",
        _ => panic!(),
    };
    assert_eq!(state(json!({})), "ready");
    assert_eq!(state(json!({"ready": null})), "ready");
    assert_eq!(state(json!({"ready": true, "serving": true, "terminating": false})), "ready");
    assert_eq!(state(json!({"ready": false})), "none");
    assert_eq!(state(json!({"ready": false, "serving": true})), "none");
    assert_eq!(state(json!({"ready": false, "serving": true, "terminating": true})), "draining");
    assert_eq!(state(json!({"ready": false, "serving": false, "terminating": true})), "none");
    assert_eq!(state(json!({"ready": true, "terminating": true})), "draining");
}

#[test]
fn pod_with_two_families_is_one_instance_with_two_addresses() {
    let endpoint = |address: &str| json!([{"addresses": [address], "targetRef": {"kind": "Pod", "name": "web-x"}}]);
    let slices = vec![slice(endpoint("10.1.2.3")), slice(endpoint("fd00::3"))];
    let [web] = &instances(service(), slices)[..] else { panic!() };
    assert_eq!(web.host.to_string(), "10.1.2.3");
    assert_eq!(web.addresses.iter().map(Host::to_string).collect::<Vec<_>>(), ["fd00::3"]);
}

#[test]
fn what_portolan_has_written_is_not_read() {
    let endpoint = json!([{"addresses": ["10.1.2.3"]}]);
    let mut own_slice = slice(endpoint.clone());
    own_slice["metadata"]["labels"][SLICE_MANAGED_BY] = json!("portolan");
    assert_eq!(instances(service(), vec![own_slice]), []);
    let mut own_service = service();
    own_service["metadata"]["labels"][MANAGED_BY] = json!("portolan");
    assert_eq!(instances(own_service, vec![slice(endpoint)]), []);
}

#[test]
fn protocol_is_that_of_the_application_if_it_is_known() {
    let protocol = |name: &str, application: Option<&str>| {
        let service = serde_json::from_value(json!({"metadata": {}})).unwrap();
        let port = EndpointPort {
            name: name.to_owned(),
            port: Some(80),
            protocol: Some("UDP".to_owned()),
            app_protocol: application.map(str::to_owned),
        };
        super::protocol(&service, &port).to_string()
    };
    assert_eq!(protocol("x", Some("HTTPS")), "https");
    assert_eq!(protocol("grpc-api", Some("kubernetes.io/h2c")), "grpc");
    assert_eq!(protocol("httpx", None), "udp");
}

#[test]
fn unusable_endpoints_are_left_out() {
    for endpoint in [json!({"addresses": []}), json!({"addresses": ["a b"]})] {
        assert_eq!(instances(service(), vec![slice(json!([endpoint]))]), []);
    }
    let mut no_ports = slice(json!([{"addresses": ["10.1.2.3"]}]));
    no_ports["ports"] = json!(null);
    assert_eq!(instances(service(), vec![no_ports]), []);
}
