use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

/// The minimal message of the specification, section "Broadcast Service".
const MINIMAL: &str = r#"{
  "type": "service_announcement",
  "service": {"name": "postgres-primary", "host": "localhost", "port": 5434, "protocol": "tcp",
    "metadata": {"database": "helixcode", "version": "16.0"}},
  "timestamp": "2025-11-07T12:00:00Z",
  "ttl": 60
}"#;
const THEN: &str = "2025-11-07T12:00:00Z";

fn validator(config: &BroadcastConfig) -> Validator {
    Validator::new(config, Arc::new(FollowedKeys::read(config, None).unwrap()))
}

fn open() -> Validator {
    validator(&BroadcastConfig::default())
}

fn keyed() -> Validator {
    validator(&BroadcastConfig {
        key: Some("secret".into()),
        key_id: Some("k1".into()),
        ..BroadcastConfig::default()
    })
}

fn arrival(payload: &[u8]) -> Arrival<'_> {
    Arrival {
        payload,
        source: "127.0.0.1:40000".parse().unwrap(),
        from_this_host: true,
        audience: Some("239.255.0.1:7001"),
        is_attached: true,
        clock: THEN.parse().unwrap(),
        at: Instant::now(),
    }
}

/// The minimal message with these members put over its own.
fn message(members: &Value) -> Vec<u8> {
    let mut message: Value = serde_json::from_str(MINIMAL).unwrap();
    for (name, value) in members.as_object().unwrap() {
        message[name] = value.clone();
    }
    message.to_string().into_bytes()
}

fn signed(members: &Value, key: &str) -> Vec<u8> {
    let mut object: Map<String, Value> = serde_json::from_slice(&message(members)).unwrap();
    let keys = crate::keys::Keyring::of_key(&key.into(), None);
    let signature = keys.signature(&crate::canonical::canonical(&object)).unwrap();
    object.insert("signature".into(), signature.into());
    serde_json::to_vec(&object).unwrap()
}

fn rejection(validator: &mut Validator, payload: &[u8]) -> String {
    format!("{:?}", validator.check(&arrival(payload)).unwrap_err())
}

#[test]
fn minimal_message_of_the_specification_is_accepted() {
    let message = open().check(&arrival(MINIMAL.as_bytes())).unwrap();
    let Body::ServiceAnnouncement(announcement) = message.body else { panic!("not one") };
    assert_eq!(announcement.service.address(), "localhost:5434");
    assert_eq!(announcement.service.metadata.get("version"), Some("16.0"));
}

#[test]
fn signature_is_ignored_without_a_key() {
    let payload = message(&json!({"signature": "sha256_hash_for_verification"}));
    assert!(open().check(&arrival(&payload)).is_ok());
}

#[test]
fn each_kind_of_invalid_datagram_has_its_own_reason() {
    for (payload, expected) in [
        (vec![b' '; 1401], "TooLarge { limit: 1400 }"),
        (vec![0xff, 0xfe, 0x00], "NotJson"),
        (MINIMAL.as_bytes()[..100].to_vec(), "NotJson"),
        (b"[1]".to_vec(), "NotJson"),
        (b"[".repeat(1000), "NotJson"),
        (b"{}".to_vec(), "NotAMessage"),
        (message(&json!({"type": "service_rumour"})), "NotAMessage"),
        (message(&json!({"ttl": 0})), "NotAMessage"),
        (message(&json!({"ttl": 1e300})), "NotAMessage"),
        (message(&json!({"timestamp": "yesterday"})), "NotAMessage"),
        (message(&json!({"service": {"name": "a b", "host": "h", "port": 1}})), "NotAMessage"),
        (message(&json!({"service": {"name": "a", "host": "h", "port": 0}})), "NotAMessage"),
        (message(&json!({"sequence": -1})), "NotAMessage"),
        (message(&json!({"version": "2.0"})), "Version(\"2.0\")"),
        (message(&json!({"version": "10"})), "Version"),
        (message(&json!({"ttl": 3601})), "Ttl {"),
        (message(&json!({"timestamp": "2025-11-07T12:00:31Z"})), "Clock {"),
        (message(&json!({"timestamp": "2025-11-07T11:59:29Z"})), "Clock {"),
        (message(&json!({"sender": "x".repeat(65)})), "Member { member: \"sender\""),
        (message(&json!({"key_id": "x".repeat(65)})), "Member { member: \"key_id\""),
        (message(&json!({"in_reply_to": "x".repeat(65)})), "Member { member: \"query_id"),
        (message(&json!({"sequence": 1_u64 << 53})), "Member { member: \"sequence\""),
    ] {
        let reason = rejection(&mut open(), &payload);
        assert!(reason.contains(expected), "{expected}: {reason}");
    }
}

#[test]
fn with_a_key_only_signed_messages_are_accepted() {
    assert!(keyed().check(&arrival(&signed(&json!({}), "secret"))).is_ok());
    assert!(
        keyed().check(&arrival(&signed(&json!({"key_id": "k1", "new": [1]}), "secret"))).is_ok()
    );

    assert_eq!(rejection(&mut keyed(), MINIMAL.as_bytes()), "Unsigned");
    assert_eq!(rejection(&mut keyed(), &signed(&json!({}), "other")), "WrongSignature");
    let forged = message(&json!({"signature": "00".repeat(32)}));
    assert_eq!(rejection(&mut keyed(), &forged), "WrongSignature");
    let other = signed(&json!({"key_id": "k2"}), "secret");
    assert_eq!(rejection(&mut keyed(), &other), r#"UnknownKey { id: "k2", known: "k1" }"#);
}

#[test]
fn signed_copy_in_another_encoding_is_a_copy() {
    let (mut validator, payload) = (keyed(), signed(&json!({}), "secret"));
    assert!(validator.check(&arrival(&payload)).is_ok());
    let value: Value = serde_json::from_slice(&payload).unwrap();
    let respelt = serde_json::to_vec_pretty(&value).unwrap();
    assert_eq!(rejection(&mut validator, &respelt), "Repeat");
}

#[test]
fn message_is_accepted_once() {
    let (mut validator, payload) = (open(), message(&json!({"sender": "a", "sequence": 1})));
    let first = arrival(&payload);
    assert!(validator.check(&first).is_ok());
    let repeat = validator.check(&first).unwrap_err();
    assert!(matches!(repeat, Rejection::Repeat) && !repeat.is_error());
    let later = Arrival { at: first.at + Duration::from_secs(10), ..first };
    let replay = validator.check(&later).unwrap_err();
    assert!(matches!(replay, Rejection::Replay) && replay.is_error());
}

#[test]
fn message_that_was_signed_for_another_channel_is_rejected() {
    let for_channel = |audience: &str| signed(&json!({"audience": audience}), "secret");
    assert!(keyed().check(&arrival(&for_channel("239.255.0.1:7001"))).is_ok());
    let (group, port) = (for_channel("239.1.2.3:7001"), for_channel("239.255.0.1:7002"));
    assert!(rejection(&mut keyed(), &group).starts_with("Audience"));
    assert!(rejection(&mut keyed(), &port).starts_with("Audience"));
    // A message of the specification names no channel.
    assert!(keyed().check(&arrival(&signed(&json!({}), "secret"))).is_ok());
    let mut stripped: Value = serde_json::from_slice(&group).unwrap();
    stripped.as_object_mut().unwrap().remove("audience");
    assert_eq!(rejection(&mut keyed(), &serde_json::to_vec(&stripped).unwrap()), "WrongSignature");
}

#[test]
fn sender_of_an_open_channel_cannot_be_muted() {
    let mut validator = open();
    let highest = message(&json!({"sender": "a", "sequence": MAX_SEQUENCE}));
    // Also with the address of the sender.
    validator.check(&arrival(&highest)).unwrap();
    for sequence in 1..4 {
        let ahead = message(&json!({"sender": "a", "sequence": sequence}));
        validator.check(&arrival(&ahead)).unwrap();
        let timestamp = "2025-11-07T12:00:00.123456789Z";
        let genuine = json!({"sender": "a", "sequence": sequence, "timestamp": timestamp});
        let genuine = message(&genuine);
        validator.check(&arrival(&genuine)).unwrap();
    }
}

#[test]
fn message_that_was_signed_before_the_start_is_a_replay() {
    let started: Timestamp = "2025-11-07T12:00:01.5Z".parse().unwrap();
    let mut validator = keyed().started(started);
    let recorded = signed(&json!({"sender": "a", "sequence": 1}), "secret");
    assert_eq!(rejection(&mut validator, &recorded), "Replay");
    let at = |sequence: u64, timestamp: &str| {
        signed(&json!({"sender": "a", "sequence": sequence, "timestamp": timestamp}), "secret")
    };
    let just_before = at(2, "2025-11-07T12:00:01.4Z");
    assert_eq!(rejection(&mut validator, &just_before), "Replay");
    validator.check(&arrival(&at(3, "2025-11-07T12:00:01.6Z"))).unwrap();
    // A sender that leaves out the fraction.
    validator.check(&arrival(&at(4, "2025-11-07T12:00:01Z"))).unwrap();
    // A response names a query of this process.
    let response = json!({"sender": "b", "sequence": 1, "in_reply_to": "q"});
    validator.check(&arrival(&signed(&response, "secret"))).unwrap();
    // Without a key nothing proves the time.
    open().started(started).check(&arrival(&message(&json!({})))).unwrap();
}

#[test]
fn rejected_message_does_not_use_its_sequence_number() {
    let mut validator = keyed();
    let forged = message(&json!({"sender": "a", "sequence": 1}));
    assert_eq!(rejection(&mut validator, &forged), "Unsigned");
    let genuine = signed(&json!({"sender": "a", "sequence": 1}), "secret");
    assert!(validator.check(&arrival(&genuine)).is_ok());
}

#[test]
fn only_allowed_networks_are_accepted() {
    let mut validator = validator(&BroadcastConfig {
        allowed_networks: vec!["10.1.0.0/16".parse().unwrap(), "::1/128".parse().unwrap()],
        ..BroadcastConfig::default()
    });
    let payload = message(&json!({"service": {"name": "a", "host": "10.1.2.3", "port": 1}}));
    let from = |source: &str| Arrival { source: source.parse().unwrap(), ..arrival(&payload) };
    assert!(matches!(validator.check(&from("10.2.0.1:9")), Err(Rejection::Network(_))));
    assert!(validator.check(&from("[::ffff:10.1.0.1]:9")).is_ok());
}

#[test]
fn datagram_from_a_network_that_this_host_is_not_attached_to_is_dropped() {
    let payload = message(&json!({"service": {"name": "a", "host": "10.1.2.3", "port": 1}}));
    let source = "192.0.2.1:9".parse().unwrap();
    let elsewhere =
        Arrival { source, from_this_host: false, is_attached: false, ..arrival(&payload) };
    let rejection = open().check(&elsewhere).unwrap_err();
    assert!(matches!(rejection, Rejection::Elsewhere(_)) && rejection.is_error(), "{rejection}");
    assert!(open().check(&Arrival { is_attached: true, ..elsewhere }).is_ok());
    let accepted = |config: BroadcastConfig| validator(&config).check(&elsewhere).is_ok();
    let peers = vec!["192.0.2.1:7001".parse().unwrap()];
    assert!(accepted(BroadcastConfig { peers, ..BroadcastConfig::default() }));
    let allowed_networks = vec!["192.0.2.0/24".parse().unwrap()];
    assert!(accepted(BroadcastConfig { allowed_networks, ..BroadcastConfig::default() }));
}

#[test]
fn loopback_address_from_another_host_is_rejected() {
    let elsewhere = Arrival { from_this_host: false, ..arrival(MINIMAL.as_bytes()) };
    assert!(matches!(open().check(&elsewhere), Err(Rejection::Loopback)));
}

#[test]
fn messages_of_ten_thousand_senders_are_accepted() {
    let mut validator = open();
    for number in 0..10_000 {
        let payload = message(&json!({"sender": format!("{number:x}"), "sequence": 1}));
        assert!(validator.check(&arrival(&payload)).is_ok());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_can_panic(payload in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = open().check(&arrival(&payload));
        let _ = keyed().check(&arrival(&payload));
    }

    #[test]
    fn message_with_a_changed_byte_is_rejected_with_a_key(
        at in any::<prop::sample::Index>(),
        flip in 1_u8..,
    ) {
        let mut payload = signed(&json!({"sender": "a", "sequence": 1}), "secret");
        let original: Value = serde_json::from_slice(&payload).unwrap();
        let at = at.index(payload.len());
        payload[at] ^= flip;
        let same = serde_json::from_slice::<Value>(&payload).is_ok_and(|read| read == original);
        prop_assert_eq!(keyed().check(&arrival(&payload)).is_ok(), same);
    }

    #[test]
    fn truncated_message_is_rejected(at in any::<prop::sample::Index>()) {
        let payload = message(&json!({"sender": "a", "sequence": 1}));
        let short = &payload[..at.index(payload.len())];
        prop_assert!(open().check(&arrival(short)).is_err());
    }

    #[test]
    fn no_json_of_the_right_shape_can_panic(
        name in ".{0,20}", host in ".{0,20}", port in any::<i64>(), ttl in any::<f64>(),
        sequence in any::<u64>(), timestamp in any::<i64>(),
    ) {
        let payload = message(&json!({
            "service": {"name": name, "host": host, "port": port}, "ttl": ttl,
            "sender": name, "sequence": sequence, "timestamp": timestamp.to_string(),
        }));
        let _ = open().check(&arrival(&payload));
    }
}
