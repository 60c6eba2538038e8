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
    ServiceEvent {
        revision: Revision(1),
        change: Change::Snapshot { endpoints, incomplete: false },
    }
}

fn applied(seen: &mut SeenEndpoints, event: ServiceEvent) -> Option<&'static str> {
    seen.apply(event).map(|event| event.change.kind())
}

#[test]
fn known_state_is_not_reported_again() {
    let mut seen = SeenEndpoints::default();
    assert_eq!(applied(&mut seen, snapshot(&[])), Some("snapshot"));
    assert_eq!(applied(&mut seen, registered(1)), Some("registered"));
    assert_eq!(applied(&mut seen, registered(1)), None);
    assert_eq!(applied(&mut seen, snapshot(&[1])), None);
    let expired = || event(|endpoint| Change::Expired { endpoint }, 1);
    assert_eq!(applied(&mut seen, expired()), Some("expired"));
    assert_eq!(applied(&mut seen, expired()), None);
    assert_eq!(applied(&mut seen, snapshot(&[2])), Some("snapshot"));
}

#[test]
fn difference_is_reported_as_an_update() {
    let mut seen = SeenEndpoints::default();
    seen.apply(snapshot(&[1]));
    let mut ill = endpoint("api", 1);
    ill.health = HealthStatus::Critical;
    let health = Change::Health { endpoint: Arc::new(ill) };
    let health = ServiceEvent { revision: Revision(2), change: health };
    assert_eq!(applied(&mut seen, health.clone()), Some("health"));
    assert_eq!(applied(&mut seen, health), None);
    assert_eq!(applied(&mut seen, registered(1)), Some("updated"));
}

#[test]
fn incomplete_snapshot_keeps_the_known_instances() {
    let mut seen = SeenEndpoints::default();
    seen.apply(snapshot(&[1, 2]));
    let incomplete = |ports: &[u16]| {
        let mut event = snapshot(ports);
        let Change::Snapshot { incomplete, .. } = &mut event.change else { unreachable!() };
        *incomplete = true;
        event
    };
    assert_eq!(applied(&mut seen, incomplete(&[])), None);
    let event = seen.apply(incomplete(&[3])).unwrap();
    let Change::Snapshot { endpoints, .. } = event.change else { panic!("{event:?}") };
    let mut ports: Vec<_> = endpoints.iter().map(|endpoint| endpoint.port).collect();
    ports.sort_unstable();
    assert_eq!(ports, [1, 2, 3]);
    assert_eq!(applied(&mut seen, snapshot(&[3])), Some("snapshot"));
}
