use jiff::Timestamp;
use portolan_core::{Registration, Ttl};

use super::super::offer::offers;
use super::*;

fn writer() -> Writer {
    Writer { name: "test".into(), headless: false }
}

fn instance(host: &str, port: u16, metadata: &[(&str, &str)]) -> Offered {
    let mut registration = Registration::new("web".parse().unwrap(), host.parse().unwrap(), port);
    registration.protocol = "http".parse().unwrap();
    let entries = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    registration.metadata = entries.collect();
    let endpoint = registration.into_endpoint(Ttl::DEFAULT, Timestamp::UNIX_EPOCH);
    let offers = offers(&endpoint, &[]).unwrap();
    (Arc::new(endpoint), offers)
}

fn slices(offered: &[Offered]) -> Vec<Value> {
    let slices =
        writer().slices(("web", "1-2"), "discovery.k8s.io/v1", offered, std::iter::empty());
    slices.into_values().collect()
}

fn ports(service: &Value) -> Vec<(String, u64)> {
    let ports = service["spec"]["ports"].as_array().unwrap().iter();
    let port = |it: &Value| (it["name"].as_str().unwrap().to_owned(), it["port"].as_u64().unwrap());
    ports.map(port).collect()
}

#[test]
fn service_has_a_usual_port_and_slices_have_the_ports_of_the_instances() {
    let offered = [instance("10.0.0.7", 41000, &[]), instance("10.0.0.8", 42000, &[])];
    let service = writer().service("web", &offered, None);
    assert_eq!(ports(&service), [("http".into(), 80)]);
    assert_eq!(service["spec"].get("selector"), None);
    let slices = slices(&offered);
    assert_eq!(slices.len(), 2);
    let of = |port: u64| slices.iter().find(|it| it["ports"][0]["port"] == port).unwrap();
    assert_eq!(of(41000)["endpoints"][0]["addresses"], json!(["10.0.0.7"]));
    assert_eq!(of(42000)["endpoints"][0]["addresses"], json!(["10.0.0.8"]));
    assert_eq!(of(42000)["ports"][0]["name"], "http");
    assert_eq!(of(42000)["metadata"]["labels"]["kubernetes.io/service-name"], "web");
    assert_eq!(of(42000)["metadata"]["ownerReferences"][0]["uid"], "1-2");
}

#[test]
fn named_ports_are_ports_of_the_service() {
    let metadata = [("port.metrics", "9100"), ("port.web", "8080"), ("port.Not_a_label", "1")];
    let offered = [instance("10.0.0.7", 8080, &metadata)];
    let service = writer().service("web", &offered, None);
    assert_eq!(ports(&service), [("web".into(), 80), ("metrics".into(), 9100)]);
    let slice = &slices(&offered)[0];
    let numbers: Vec<_> = slice["ports"].as_array().unwrap().iter().map(|it| &it["port"]).collect();
    assert_eq!(numbers, [8080, 9100]);
}

#[test]
fn port_of_a_service_is_the_given_one_else_the_one_that_it_has() {
    let known = json!({"metadata": {}, "spec": {"ports": [{"name": "http", "port": 8000}]}});
    let known: Service = serde_json::from_value(known).unwrap();
    let of = |metadata| {
        let offered = [instance("10.0.0.7", 41000, metadata)];
        ports(&writer().service("web", &offered, Some(&known)))[0].1
    };
    assert_eq!(of(&[]), 8000);
    assert_eq!(of(&[("kubernetes.port", "90")]), 90);
    assert_eq!(of(&[("kubernetes.port.http", "91")]), 91);
    assert_eq!(of(&[("kubernetes.port", "0")]), 8000);
}

#[test]
fn ports_of_one_number_get_different_ones() {
    let metadata = [("port.a", "80"), ("port.b", "80")];
    let service = writer().service("web", &[instance("10.0.0.7", 8080, &metadata)], None);
    assert_eq!(ports(&service), [("http".into(), 80), ("a".into(), 81), ("b".into(), 82)]);
}

#[test]
fn families_have_slices_of_their_own_and_one_address_is_one_endpoint() {
    let offered = [
        instance("10.0.0.7", 8080, &[]),
        instance("fd00::7", 8080, &[]),
        instance("10.0.0.7", 8080, &[]),
    ];
    let slices = slices(&offered);
    let families: Vec<_> = slices.iter().map(|it| it["addressType"].as_str().unwrap()).collect();
    assert_eq!(BTreeSet::from_iter(families), BTreeSet::from(["IPv4", "IPv6"]));
    assert!(slices.iter().all(|it| it["endpoints"].as_array().unwrap().len() == 1));
}

#[test]
fn headless_services_have_no_address_and_say_so() {
    let writer = Writer { headless: true, ..writer() };
    let offered = [instance("10.0.0.7", 8080, &[])];
    assert_eq!(writer.service("web", &offered, None)["spec"]["clusterIP"], "None");
    let slices = writer.slices(("web", "1"), "discovery.k8s.io/v1", &offered, std::iter::empty());
    let labels = &slices.values().next().unwrap()["metadata"]["labels"];
    assert_eq!(labels["service.kubernetes.io/headless"], "");
}
