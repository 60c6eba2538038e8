use portolan_core::Ttl;
use serde_json::json;

use super::*;
use crate::instances::Naming;

fn service(name: &str) -> Service {
    let object = json!({"metadata": {"name": name, "namespace": "shop"}});
    serde_json::from_value(object).unwrap()
}

fn slice(name: &str, service: &str, address: &str) -> EndpointSlice {
    let labels = json!({SERVICE_NAME: service});
    let object = json!({"metadata": {"name": name, "namespace": "shop", "labels": labels},
        "ports": [{"port": 80}], "endpoints": [{"addresses": [address]}]});
    serde_json::from_value(object).unwrap()
}

fn services(event: Event<Service>) -> SourceChange {
    SourceChange { namespace: None, change: ObjectChange::Service(event) }
}

fn slices(event: Event<EndpointSlice>) -> SourceChange {
    SourceChange { namespace: None, change: ObjectChange::Slice(event) }
}

fn key(name: &str) -> Key {
    Key { namespace: "shop".into(), name: name.into() }
}

fn addresses(view: &View, name: &str) -> Vec<String> {
    let key = key(name);
    let naming =
        Naming { cluster: "test".parse().unwrap(), scope_prefix: String::new(), ttl: Ttl::DEFAULT };
    let Some(service) = view.service(&key) else { return Vec::new() };
    let instances = naming.instances(service, view.slices(&key)).into_values();
    instances.map(|instance| instance.host.to_string()).collect()
}

#[test]
fn slice_that_comes_before_its_service_counts_once_the_service_is_there() {
    let mut view = View::default();
    view.apply(slices(Event::Apply(slice("web-1", "web", "10.0.0.1"))));
    assert!(addresses(&view, "web").is_empty());
    let touched = view.apply(services(Event::Apply(service("web"))));
    assert!(touched.services.contains(&key("web")));
    assert_eq!(addresses(&view, "web"), ["10.0.0.1"]);
}

#[test]
fn slice_that_changes_its_service_touches_both() {
    let mut view = View::default();
    for name in ["web", "api"] {
        view.apply(services(Event::Apply(service(name))));
    }
    view.apply(slices(Event::Apply(slice("s", "web", "10.0.0.1"))));
    let touched = view.apply(slices(Event::Apply(slice("s", "api", "10.0.0.1"))));
    assert_eq!(touched.services, [key("api"), key("web")].into());
    assert!(addresses(&view, "web").is_empty());
    assert_eq!(addresses(&view, "api"), ["10.0.0.1"]);
}

#[test]
fn what_a_list_does_not_show_is_gone_at_its_end_and_not_before() {
    let mut view = View::default();
    view.apply(services(Event::Apply(service("web"))));
    for (name, address) in [("web-1", "10.0.0.1"), ("web-2", "10.0.0.2")] {
        view.apply(slices(Event::Apply(slice(name, "web", address))));
    }
    view.apply(slices(Event::Init));
    view.apply(slices(Event::InitApply(slice("web-2", "web", "10.0.0.2"))));
    assert_eq!(addresses(&view, "web"), ["10.0.0.1", "10.0.0.2"]);
    let touched = view.apply(slices(Event::InitDone));
    assert_eq!(touched.services, [key("web")].into());
    assert_eq!(addresses(&view, "web"), ["10.0.0.2"]);
    assert_eq!(touched.listed, None, "the Services were not listed");
    view.apply(services(Event::Init));
    let touched = view.apply(services(Event::InitDone));
    assert_eq!(touched.listed, Some(None));
    assert!(addresses(&view, "web").is_empty());
}
