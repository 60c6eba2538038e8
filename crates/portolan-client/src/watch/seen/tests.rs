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

fn told(seen: &mut SeenEndpoints, event: ServiceEvent) -> Option<&'static str> {
    seen.told(event).map(|event| event.change.kind())
}

#[test]
fn what_is_known_already_is_not_told_again() {
    let mut seen = SeenEndpoints::default();
    assert_eq!(told(&mut seen, snapshot(&[])), Some("snapshot"));
    assert_eq!(told(&mut seen, registered(1)), Some("registered"));
    assert_eq!(told(&mut seen, registered(1)), None);
    assert_eq!(told(&mut seen, snapshot(&[1])), None);
    let expired = || event(|endpoint| Change::Expired { endpoint }, 1);
    assert_eq!(told(&mut seen, expired()), Some("expired"));
    assert_eq!(told(&mut seen, expired()), None);
    assert_eq!(told(&mut seen, snapshot(&[2])), Some("snapshot"));
}

#[test]
fn what_differs_is_told_as_a_change_of_what_is_known() {
    let mut seen = SeenEndpoints::default();
    seen.told(snapshot(&[1]));
    let mut ill = endpoint("api", 1);
    ill.health = HealthStatus::Critical;
    let health = Change::Health { endpoint: Arc::new(ill) };
    let health = ServiceEvent { revision: Revision(2), change: health };
    assert_eq!(told(&mut seen, health.clone()), Some("health"));
    assert_eq!(told(&mut seen, health), None);
    assert_eq!(told(&mut seen, registered(1)), Some("updated"));
}
