use super::*;

fn refusal(change: impl FnOnce(&mut BroadcastConfig)) -> String {
    let mut config = BroadcastConfig::default();
    change(&mut config);
    config.validate().unwrap_err().to_string()
}

#[test]
fn the_defaults_are_those_of_the_specification_and_valid() {
    let json = serde_json::to_value(BroadcastConfig::default()).unwrap();
    for (key, expected) in [
        ("enabled", serde_json::json!(true)),
        ("multicast_address", "239.255.0.1:7001".into()),
        ("interface", "0.0.0.0".into()),
        ("ttl", "1m".into()),
        ("announce_interval", "30s".into()),
        ("key", serde_json::Value::Null),
    ] {
        assert_eq!(json[key], expected, "{key}");
    }
    BroadcastConfig::default().validate().unwrap();
}

#[test]
fn the_settings_read_back_as_they_were_written() {
    let config = BroadcastConfig {
        key: Some("secret".into()),
        key_id: Some("k1".into()),
        allowed_networks: vec!["10.0.0.0/8".parse().unwrap()],
        peers: vec!["10.0.0.2:7001".parse().unwrap()],
        ..BroadcastConfig::default()
    };
    let json = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<BroadcastConfig>(&json).unwrap(), config);
    assert!(!format!("{config:?}").contains("secret"));
}

#[test]
fn invalid_setting_is_rejected_with_its_key() {
    let seconds = Duration::from_secs;
    for (error, expected) in [
        (
            refusal(|c| c.multicast_address = "10.0.0.1:7001".parse().unwrap()),
            "not a multicast group",
        ),
        (
            refusal(|c| c.multicast_address = "239.255.0.1:0".parse().unwrap()),
            "not a multicast group",
        ),
        (refusal(|c| c.multicast_address = "[ff02::1]:7001".parse().unwrap()), "IPv6 group"),
        (refusal(|c| c.peers = vec!["[::1]:7001".parse().unwrap()]), "broadcast.peers"),
        (refusal(|c| c.peers = vec!["10.0.0.1:0".parse().unwrap()]), "broadcast.peers"),
        (refusal(|c| c.ttl = seconds(0)), "broadcast.ttl"),
        (refusal(|c| c.announce_interval = seconds(60)), "broadcast.announce_interval: 1m"),
        (refusal(|c| c.announce_interval = seconds(0)), "broadcast.announce_interval"),
        (refusal(|c| c.window = seconds(0)), "broadcast.window"),
        (refusal(|c| c.window = seconds(3601)), "broadcast.window"),
        (refusal(|c| c.max_ttl = seconds(59)), "broadcast.max_ttl: 59s"),
        (refusal(|c| c.max_ttl = seconds(90_000)), "broadcast.max_ttl"),
        (refusal(|c| c.key = Some("".into())), "broadcast.key: the key is empty"),
        (refusal(|c| c.key_id = Some("k".repeat(65))), "broadcast.key_id"),
        (refusal(|c| c.max_datagram = 100), "broadcast.max_datagram: 100 bytes"),
        (refusal(|c| c.max_datagram = 65_508), "broadcast.max_datagram"),
        (refusal(|c| c.max_heard = 0), "broadcast.max_heard"),
    ] {
        assert!(error.contains(expected), "{expected}: {error}");
    }
}
