use portolan_core::HealthStatus;

use super::*;
use crate::testing::endpoint;

fn event(change: fn(Arc<ServiceEndpoint>) -> Change, port: u16) -> ServiceEvent {
    let change = change(Arc::new(endpoint("api", port)));
    ServiceEvent { revision: Revision(1), change }
}

fn registered(port: u16) -> ServiceEvent {
    event(|endpoint| Change::Registered { endpoint }, port)
}

fn snapshot(ports: &[u16]) -> ServiceEvent {
    let endpoints = ports.iter().map(|port| Arc::new(endpoint("api", *port))).collect();
    ServiceEvent { revision: Revision(1), change: Change::Snapshot { endpoints } }
}

fn told(view: &mut View, event: ServiceEvent) -> Option<&'static str> {
    view.told(event).map(|event| event.change.kind())
}

#[test]
fn what_is_known_already_is_not_told_again() {
    let mut view = View::default();
    assert_eq!(told(&mut view, snapshot(&[])), Some("snapshot"));
    assert_eq!(told(&mut view, registered(1)), Some("registered"));
    assert_eq!(told(&mut view, registered(1)), None);
    assert_eq!(told(&mut view, snapshot(&[1])), None);
    let expired = || event(|endpoint| Change::Expired { endpoint }, 1);
    assert_eq!(told(&mut view, expired()), Some("expired"));
    assert_eq!(told(&mut view, expired()), None);
    assert_eq!(told(&mut view, snapshot(&[2])), Some("snapshot"));
}

#[test]
fn what_differs_is_told_as_a_change_of_what_is_known() {
    let mut view = View::default();
    view.told(snapshot(&[1]));
    let mut ill = endpoint("api", 1);
    ill.health = HealthStatus::Critical;
    let health = Change::Health { endpoint: Arc::new(ill) };
    let health = ServiceEvent { revision: Revision(2), change: health };
    assert_eq!(told(&mut view, health.clone()), Some("health"));
    assert_eq!(told(&mut view, health), None);
    assert_eq!(told(&mut view, registered(1)), Some("updated"));
}
