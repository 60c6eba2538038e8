//! JSON from peers: endpoints, changes, listings, messages, reports. An accepted value is within its
//! bounds and survives a round trip.

#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use portolan_client::Listing;
use portolan_core::{HealthReport, Message, Registration, ServiceEndpoint, ServiceEvent};
use serde::Serialize;
use serde::de::DeserializeOwned;

fuzz_target!(|json: &[u8]| {
    reads_back::<ServiceEvent>(json);
    reads_back::<Listing>(json);
    reads_back::<Message>(json);
    reads_back::<HealthReport>(json);
    let Some(endpoint) = reads_back::<ServiceEndpoint>(json) else { return };
    Registration::from(endpoint.clone()).validate().expect("what was read is valid");
    assert!(endpoint.same_contents(&endpoint));
    assert!(endpoint.url().ends_with(&endpoint.address()));
    endpoint.is_ready();
});

fn reads_back<T>(json: &[u8]) -> Option<T>
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let value: T = serde_json::from_slice(json).ok()?;
    let written = serde_json::to_vec(&value).expect("it can be written");
    assert_eq!(serde_json::from_slice::<T>(&written).expect("it can be read again"), value);
    Some(value)
}
