//! A registration as received by `PUT /api/v1/services/ID`. An accepted one is within its bounds, has
//! an id, and becomes an endpoint that survives a round trip.

#![no_main]

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use portolan_core::{Registration, ServiceEndpoint, Ttl};

fuzz_target!(|json: &[u8]| {
    let Ok(registration) = serde_json::from_slice::<Registration>(json) else { return };
    registration.validate().expect("what was read is valid");

    let written = serde_json::to_vec(&registration).expect("it can be written");
    let again: Registration = serde_json::from_slice(&written).expect("it can be read again");
    assert_eq!(again, registration);

    let id = registration.id();
    let endpoint = registration.clone().into_endpoint(Ttl::DEFAULT, Timestamp::UNIX_EPOCH);
    assert_eq!(endpoint.id, id);
    let written = serde_json::to_vec(&endpoint).expect("it can be written");
    let read: ServiceEndpoint = serde_json::from_slice(&written).expect("a peer can read it");
    assert_eq!(read, endpoint);

    // A received endpoint can be registered again, as the import from the channel does.
    let written = serde_json::to_vec(&Registration::from(read)).expect("it can be written");
    let back: Registration = serde_json::from_slice(&written).expect("the registry takes it");
    assert_eq!(back, Registration { id: Some(id), ttl: Some(endpoint.ttl), ..registration });
});
