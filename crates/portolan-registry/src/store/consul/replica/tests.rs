use std::collections::BTreeMap;

use jiff::Timestamp;
use portolan_core::{Registration, Ttl};

use super::super::log::{NewChange, News};
use super::super::record::{ChangeValue, Removed, StoredValue, Value};
use super::*;
use crate::store::remote::{ServerValue, Written};
use crate::store::suite::registration;
use crate::{CommandOrigin, RegistryConfig};

const OWN: ServerId = ServerId(1);
const OTHER: ServerId = ServerId(2);

/// A replica that is loaded and empty, of a server that is live.
fn replica() -> Replica {
    let servers = watch::Sender::new(LiveServers::new());
    let membership = Membership::new(OWN, servers.subscribe());
    let mass_expiry = MassExpiry::from_config(&RegistryConfig::default());
    let mut replica = Replica::new(Keys::new("p"), OWN, membership, servers, mass_expiry);
    replica.load(&KvList { index: 1, entries: Vec::new() });
    replica.touch_contact();
    replica
}

fn stored(server: ServerId, change: Written, service: &Registration) -> ChangeValue {
    let endpoint = service.clone().into_endpoint(Ttl::DEFAULT, Timestamp::now());
    let owner = Owner::new(&CommandOrigin::local());
    let value = Value::new(endpoint, owner, change, server, "1-1");
    let stored = Some(StoredValue::Value(Box::new(value)));
    ChangeValue { stored, ..ChangeValue::default() }
}

fn apply(replica: &mut Replica, index: u64, value: ChangeValue, live: &[ServerId]) {
    let servers: BTreeMap<_, _> =
        live.iter().map(|server| (*server, ServerValue::default())).collect();
    let changes = vec![NewChange { index, value }];
    replica.apply(News { changes, servers, index });
}

#[tokio::test(start_paused = true)]
async fn heartbeat_is_a_write_while_a_removal_is_on_its_way() {
    let (mut replica, service) = (replica(), registration("api", 1));
    apply(&mut replica, 5, stored(OWN, Written::Registered, &service), &[OWN]);
    let id = service.id();
    let endpoint = ServiceEndpoint::clone(&replica.record(&id).unwrap().endpoint);
    assert!(replica.begin_end(&id).is_none(), "its timer has not fired");
    replica.timers.cancel(&id);
    let record = replica.begin_end(&id).unwrap();
    assert!(replica.is_ending(&record) && !replica.renew(5, &endpoint));
    replica.cancel_end(&record);
    assert!(replica.renew(5, &endpoint), "it was not removed");
    replica.timers.cancel(&id);
    replica.begin_end(&id).unwrap();
    // The heartbeat was written: the removal fails.
    apply(&mut replica, 6, stored(OWN, Written::Renewed, &service), &[OWN]);
    assert!(replica.renew(6, &endpoint) && !replica.renew(5, &endpoint));
}

#[tokio::test(start_paused = true)]
async fn lease_is_held_by_one_server() {
    let (mut replica, service) = (replica(), registration("api", 1));
    let id = service.id();
    apply(&mut replica, 5, stored(OTHER, Written::Registered, &service), &[OWN, OTHER]);
    assert!(!replica.timers.contains(&id));
    // The other server is gone, and back.
    apply(&mut replica, 6, ChangeValue::default(), &[OWN]);
    assert!(replica.timers.contains(&id));
    apply(&mut replica, 7, ChangeValue::default(), &[OWN, OTHER]);
    assert!(!replica.timers.contains(&id));
    // A heartbeat arrived here, then there.
    apply(&mut replica, 8, stored(OWN, Written::Renewed, &service), &[OWN, OTHER]);
    assert!(replica.timers.contains(&id));
    apply(&mut replica, 9, stored(OTHER, Written::Renewed, &service), &[OWN, OTHER]);
    assert!(!replica.timers.contains(&id));
    let removed = vec![Removed { id: id.clone(), expired: true }];
    let value = ChangeValue { removed, ..ChangeValue::default() };
    apply(&mut replica, 10, value, &[OWN, OTHER]);
    assert!(replica.record(&id).is_none());
}
