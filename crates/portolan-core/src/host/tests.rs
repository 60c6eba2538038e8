use super::*;

fn host(text: &str) -> Host {
    text.parse().unwrap()
}

#[test]
fn ip_addresses_and_host_names_are_hosts() {
    for text in ["127.0.0.1", "::1", "localhost", "db.example.org", "my_api", "a-b"] {
        assert_eq!(host(text).to_string(), text);
    }
}

#[test]
fn unusable_hosts_are_rejected() {
    for text in [
        "",
        " ",
        "a b",
        "-a",
        "a-",
        "a..b",
        "999.1.1.1",
        "0.0.0.0",
        "::",
        "http://x",
        "a:80",
        // The unspecified IPv4-mapped address, and notations of 127.0.0.1 that resolvers accept.
        "::ffff:0.0.0.0",
        "0x7f000001",
        "127.0.0.0x1",
        "0X7F.1.",
        "127.1",
        "2130706433",
        // Not the address of one host.
        "224.0.0.1",
        "255.255.255.255",
        "::ffff:239.255.0.1",
        "ff02::1",
        "fe80::1",
    ] {
        assert!(text.parse::<Host>().is_err(), "{text:?} was taken");
    }
}

#[test]
fn ipv4_mapped_address_becomes_the_ipv4_address() {
    for text in ["::ffff:10.0.0.1", "[::FFFF:10.0.0.1]", "::ffff:a00:1", "0:0:0:0:0:ffff:10.0.0.1"]
    {
        assert_eq!(host(text), host("10.0.0.1"), "{text}");
        assert_eq!(host(text).with_port(80), "10.0.0.1:80");
    }
    let from_json: Host = serde_json::from_str("\"::ffff:10.0.0.1\"").unwrap();
    assert_eq!(from_json, host("10.0.0.1"));
}

#[test]
fn ipv6_address_with_port_has_brackets() {
    assert_eq!(host("::1").with_port(80), "[::1]:80");
    assert_eq!(host("[::1]").with_port(80), "[::1]:80");
    assert_eq!(host("127.0.0.1").with_port(80), "127.0.0.1:80");
    assert_eq!(host("db").with_port(5432), "db:5432");
}

#[test]
fn loopback_is_recognised_in_every_notation() {
    for text in [
        "127.0.0.1",
        "127.8.8.8",
        "::1",
        "::ffff:127.0.0.1",
        "localhost",
        "LOCALHOST",
        "api.localhost",
        "localhost.",
        "api.LocalHost.",
        "localhost.localdomain",
        "ip6-localhost",
        "ip6-loopback",
    ] {
        assert!(host(text).is_loopback(), "{text}");
    }
    for text in ["10.0.0.1", "localhost.example.org", "mylocalhost", "0xdb.example.org", "db"] {
        assert!(!host(text).is_loopback(), "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_rejected_or_round_trips(text in ".{0,300}") {
        if let Ok(first) = text.parse::<Host>() {
            proptest::prop_assert_eq!(first.to_string().parse::<Host>().unwrap(), first);
        }
    }
}
