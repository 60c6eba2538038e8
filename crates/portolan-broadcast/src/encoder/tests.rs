use std::sync::Arc;

use portolan_core::{Host, Registration};
use serde_json::json;

use super::*;
use crate::SharedKey;
use crate::keys::Keyring;
use crate::signature::Unverified;

fn endpoint(ttl: u64) -> ServiceEndpoint {
    let registration = Registration::new("api".parse().unwrap(), Host::loopback(), 8080);
    registration.into_endpoint(Ttl::new(Duration::from_secs(ttl)).unwrap(), Timestamp::now())
}

fn unsigned() -> Signing {
    Signing::new(Arc::default(), None)
}

fn signing(keys: Keyring) -> Signing {
    Signing::new(Arc::new(keys), Some("239.255.0.1:7001".into()))
}

fn encoder(config: &BroadcastConfig) -> Encoder {
    Encoder::new(config).unwrap()
}

fn read(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn messages_of_a_sender_are_numbered_and_senders_differ() {
    let (one, other) = (encoder(&BroadcastConfig::default()), encoder(&BroadcastConfig::default()));
    let write = |encoder: &Encoder| {
        read(&encoder.announcement(&unsigned(), Action::Register, endpoint(60), None).unwrap())
    };
    let (first, second, third) = (write(&one), write(&one), write(&other));
    assert_eq!((&first["sequence"], &second["sequence"]), (&json!(1), &json!(2)));
    assert_eq!(first["sender"], second["sender"]);
    assert_ne!(first["sender"], third["sender"]);
    assert_eq!(first["type"], "service_announcement");
    assert_eq!(first["action"], "register");
}

#[test]
fn ttl_of_an_announcement_is_at_most_that_of_the_instance() {
    let encoder = encoder(&BroadcastConfig::default());
    for (own, expected) in [(5, 5), (60, 60), (3600, 60)] {
        let bytes =
            encoder.announcement(&unsigned(), Action::Heartbeat, endpoint(own), None).unwrap();
        assert_eq!(read(&bytes)["ttl"], expected);
    }
}

#[test]
fn message_is_signed_and_has_the_key_id_if_a_key_is_configured() {
    let key = SharedKey::from("secret");
    let named = signing(Keyring::of_key(&key, Some("k1".into())));
    let encoder = encoder(&BroadcastConfig::default());
    let bytes = encoder.announcement(&named, Action::Update, endpoint(60), None).unwrap();
    let mut object = read(&bytes).as_object().unwrap().clone();
    assert_eq!(object["key_id"], "k1");
    assert_eq!(object["audience"], "239.255.0.1:7001");
    let message = Unverified::of_tree(&mut object).unwrap();
    assert!(Keyring::of_key(&key, None).verify(&message).is_ok());
}

#[test]
fn message_above_the_datagram_size_is_an_error_with_its_size() {
    let encoder = encoder(&BroadcastConfig::default());
    let mut large = endpoint(60);
    large.metadata.insert("about", "x".repeat(1400));
    let refused = encoder.announcement(&unsigned(), Action::Register, large, None).unwrap_err();
    assert_eq!(refused.limit, 1400);
    assert!(refused.size > 1400);
}
