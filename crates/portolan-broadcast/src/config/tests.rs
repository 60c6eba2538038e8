use super::*;

fn rejection(change: impl FnOnce(&mut BroadcastConfig)) -> String {
    let mut config = BroadcastConfig::default();
    change(&mut config);
    config.validate().unwrap_err().to_string()
}

const KEY: &str = "a key of the channel";

fn key_file(id: &str) -> KeyFile {
    KeyFile { id: id.to_owned(), file: format!("/etc/portolan/{id}.key").into() }
}

fn channel(address: &str, keys: &[&str]) -> ChannelConfig {
    let keys = keys.iter().map(|id| key_file(id)).collect();
    ChannelConfig { address: address.parse().unwrap(), interfaces: Vec::new(), keys }
}

fn addresses(change: impl FnOnce(&mut BroadcastConfig)) -> Vec<String> {
    let mut config = BroadcastConfig::default();
    change(&mut config);
    config.validate().unwrap();
    config.channels().iter().map(|channel| channel.address.to_string()).collect()
}

#[test]
fn default_group_is_accompanied_by_an_ipv6_group_and_no_other_is() {
    assert_eq!(addresses(|_| ()), ["239.255.0.1:7001", "[ff02::504f]:7001"]);
    let on_port = addresses(|c| c.multicast_address.set_port(7101));
    assert_eq!(on_port, ["239.255.0.1:7101", "[ff02::504f]:7101"]);
    let of_ipv6 = |network: &str| {
        addresses(|c| c.allowed_networks = vec![network.parse().unwrap()]).len() == 2
    };
    assert!(of_ipv6("fe80::/10") && !of_ipv6("10.0.0.0/8"));
    assert_eq!(addresses(|c| c.ipv6 = false), ["239.255.0.1:7001"]);
    assert_eq!(addresses(|c| c.interface = "127.0.0.1".into()), ["239.255.0.1:7001"]);
    // An IPv6 group has an IPv4 group in its place on loopback.
    let ipv6 = ["239.255.1.2:7001", "[ff02::102]:7001"];
    for (group, expected) in
        [("239.1.1.1:7001", &["239.1.1.1:7001"][..]), ("[ff02::102]:7001", &ipv6)]
    {
        assert_eq!(addresses(|c| c.multicast_address = group.parse().unwrap()), expected);
        assert_eq!(addresses(|c| c.channels = vec![channel(group, &[])]), expected);
    }
}

#[test]
fn defaults_are_valid_and_those_of_the_specification() {
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
fn settings_round_trip() {
    let config = BroadcastConfig {
        key: Some(KEY.into()),
        key_id: Some("k1".into()),
        keys: vec![key_file("new")],
        allowed_networks: vec!["10.0.0.0/8".parse().unwrap()],
        peers: vec!["10.0.0.2:7001".parse().unwrap()],
        ..BroadcastConfig::default()
    };
    let json = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<BroadcastConfig>(&json).unwrap(), config);
    assert!(!format!("{config:?}").contains(KEY));
}

#[test]
fn invalid_setting_is_rejected_with_its_key() {
    let seconds = Duration::from_secs;
    for (error, expected) in [
        (
            rejection(|c| c.multicast_address = "10.0.0.1:7001".parse().unwrap()),
            "not a multicast group",
        ),
        (
            rejection(|c| c.multicast_address = "239.255.0.1:0".parse().unwrap()),
            "not a multicast group",
        ),
        (
            rejection(|c| c.multicast_address = "[ff05::1]:7001".parse().unwrap()),
            "is not a link-local IPv6 group",
        ),
        (
            rejection(|c| c.channels = vec![channel("10.0.0.1:7001", &[])]),
            "broadcast.channels: 10.0.0.1:7001 is not a multicast group",
        ),
        (
            rejection(|c| c.channels = [(); 2].map(|()| channel("239.1.1.1:7001", &[])).to_vec()),
            "broadcast.channels: 239.1.1.1:7001 occurs twice",
        ),
        (
            rejection(|c| {
                c.channels =
                    vec![channel("239.1.1.1:7001", &["new"]), channel("239.1.1.2:7001", &[])];
            }),
            "broadcast.channels: 239.1.1.2:7001 has no keys although another channel has",
        ),
        (
            rejection(|c| {
                c.channels = vec![channel("[ff02::1]:7001", &[])];
                c.peers = vec!["10.0.0.1:7001".parse().unwrap()];
            }),
            "broadcast.peers: 10.0.0.1:7001 is a peer of no channel",
        ),
        (rejection(|c| c.peers = vec!["[::1]:7001".parse().unwrap()]), "broadcast.peers"),
        (rejection(|c| c.peers = vec!["10.0.0.1:0".parse().unwrap()]), "broadcast.peers"),
        (rejection(|c| c.ttl = seconds(0)), "broadcast.ttl"),
        (rejection(|c| c.announce_interval = seconds(60)), "broadcast.announce_interval: 1m"),
        (rejection(|c| c.announce_interval = seconds(0)), "broadcast.announce_interval"),
        (rejection(|c| c.window = seconds(0)), "broadcast.window"),
        (rejection(|c| c.window = seconds(3601)), "broadcast.window"),
        (rejection(|c| c.max_ttl = seconds(59)), "broadcast.max_ttl: 59s"),
        (rejection(|c| c.max_ttl = seconds(90_000)), "broadcast.max_ttl"),
        (rejection(|c| c.key = Some("".into())), "broadcast.key: the key is empty"),
        (
            rejection(|c| {
                c.key = Some(KEY.into());
                c.keys = vec![key_file("new")];
            }),
            "broadcast.key: the key is set beside broadcast.keys",
        ),
        (rejection(|c| c.key_id = Some("k1".into())), "broadcast.key_id: k1 belongs to no key"),
        (rejection(|c| c.keys = vec![key_file("")]), "broadcast.keys: \"\" is not an id"),
        (
            rejection(|c| c.keys = vec![key_file("new"), key_file("new")]),
            "broadcast.keys: the id occurs twice",
        ),
        (
            rejection(|c| c.keys = (0..9).map(|id| key_file(&id.to_string())).collect()),
            "broadcast.keys: 9 keys are too many",
        ),
        (rejection(|c| c.key_id = Some("k".repeat(65))), "broadcast.key_id"),
        (rejection(|c| c.max_datagram = 100), "broadcast.max_datagram: 100 bytes"),
        (rejection(|c| c.max_datagram = 65_508), "broadcast.max_datagram"),
        (rejection(|c| c.max_heard = 0), "broadcast.max_heard"),
    ] {
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn keys_of_a_channel_take_the_place_of_those_of_the_section() {
    let config = BroadcastConfig {
        channels: vec![channel("239.1.1.1:7001", &["absent"]), channel("[ff02::1]:7001", &[])],
        keys: vec![key_file("also-absent")],
        ..BroadcastConfig::default()
    };
    config.validate().unwrap();
    assert!(config.is_signed());
    let places: Vec<_> = config.channels().iter().map(|channel| channel.keys_of).collect();
    assert_eq!(places, [Some(0), None, None]);
    for (keys_of, expected) in [
        (Some(0), "broadcast.channels[0].keys[0]: cannot read the file /etc/portolan/absent.key"),
        (None, "broadcast.keys[0]: cannot read the file /etc/portolan/also-absent.key"),
    ] {
        let error = config.keyring(keys_of).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}
