use serde_json::json;

use super::*;

fn read(json: serde_json::Value) -> Result<DiscoveryConfig, String> {
    let config: DiscoveryConfig = serde_json::from_value(json).map_err(|e| e.to_string())?;
    config.validate().map_err(|error| error.with_remedy()).map(|()| config)
}

#[test]
fn defaults_are_those_of_the_specification() {
    let defaults = serde_json::to_value(DiscoveryConfig::default()).unwrap();
    let expected = json!({
        "enabled": true,
        "registry_url": "http://localhost:7000",
        "registry_urls": [],
        "token_file": null,
        "tls": {"ca": null, "certificate": null, "key": null, "crl": null},
        "strategies": ["default", "registry", "broadcast", "dns", "config"],
        "race": false,
        "timeouts": {
            "default_port_check": "100ms",
            "registry_lookup": "1s",
            "kubernetes_lookup": "1s",
            "broadcast_wait": "5s",
            "dns_resolution": "2s",
            "overall": "10s",
        },
        "retries": 3,
        "cache": {"enabled": true, "ttl": "5m", "max_entries": 1000},
        "dns": {"domain": null, "servers": []},
        "endpoints": {},
        "default_ports": {},
        "zone": null,
        "prefer_same_host": false,
        "registry_user": null,
        "url_schemes": [],
    });
    assert_eq!(defaults, expected);
    assert_eq!(read(expected).unwrap(), DiscoveryConfig::default());
    assert_eq!(read(json!({})).unwrap(), DiscoveryConfig::default());
}

#[test]
fn invalid_setting_is_named_with_what_is_expected() {
    for (json, expected) in [
        (
            json!({"strategies": []}),
            "discovery.strategies: empty; expected at least one of default,",
        ),
        (
            json!({"strategies": ["dns", "dns"]}),
            "duplicate strategy `dns`; list each strategy once",
        ),
        (
            json!({"strategies": ["mdns"]}),
            "unknown strategy \"mdns\"; expected one of default, registry",
        ),
        (
            json!({"timeouts": {"overall": "0s"}}),
            "discovery.timeouts.overall: must be greater than zero",
        ),
        (json!({"zone": " "}), "discovery.zone: empty; expected the name of a zone"),
        (json!({"cache": {"max_entries": 0}}), "set discovery.cache.enabled to false"),
        (
            json!({"registry_url": "ftp://r"}),
            "discovery.registry_url: invalid registry URL \"ftp://r\"",
        ),
        (
            json!({"registry_urls": ["http://r", "r:7000"]}),
            "discovery.registry_urls: invalid registry URL \"r:7000\"",
        ),
        (json!({"dns": {"domain": "a..b"}}), "discovery.dns.domain: invalid domain \"a..b\""),
        (json!({"dns": {"domain": ""}}), "it is empty"),
        (json!({"default_ports": {"api": 0}}), "integer `0`"),
        (json!({"default_ports": {"a b": 1}}), "' ' at position 2"),
        (json!({"retires": 1}), "unknown field `retires`"),
        (json!({"timeouts": {"registry": "1s"}}), "unknown field `registry`, expected one of"),
        (json!({"timeouts": {"overall": 5}}), "a duration with its unit"),
        (json!({"dns": {"servers": ["localhost"]}}), "socket address"),
    ] {
        let error = read(json.clone()).unwrap_err();
        assert!(error.contains(expected), "{json}: {error}");
    }
    let off = json!({"cache": {"enabled": false, "max_entries": 0}});
    assert!(read(off).is_ok());
}

#[test]
fn timeouts_are_those_of_the_table_unless_configured() {
    let config = read(json!({"timeouts": {"registry_lookup": "3s", "overall": "20s"}})).unwrap();
    let limits = ["default", "registry", "broadcast", "dns", "config", "unknown"];
    let limits = limits.map(|name| config.timeouts.strategy(name).as_millis());
    assert_eq!(limits, [100, 3_000, 5_000, 2_000, 20_000, 20_000]);
}
