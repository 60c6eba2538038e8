use serde_json::json;

use super::*;

fn read(json: serde_json::Value) -> Result<DiscoveryConfig, String> {
    let config: DiscoveryConfig = serde_json::from_value(json).map_err(|e| e.to_string())?;
    config.validate().map_err(|error| error.to_string()).map(|()| config)
}

#[test]
fn the_defaults_are_those_of_the_specification() {
    let defaults = serde_json::to_value(DiscoveryConfig::default()).unwrap();
    let expected = json!({
        "enabled": true,
        "registry_url": "http://localhost:7000",
        "strategies": ["default", "registry", "broadcast", "dns", "config"],
        "timeouts": {
            "default_port_check": "100ms",
            "registry_lookup": "1s",
            "broadcast_wait": "5s",
            "dns_resolution": "2s",
            "overall": "10s",
        },
        "retries": 3,
        "cache": {"enabled": true, "ttl": "5m", "max_entries": 1000},
        "dns": {"domain": null, "servers": []},
        "endpoints": {},
        "default_ports": {},
    });
    assert_eq!(defaults, expected);
    assert_eq!(read(expected).unwrap(), DiscoveryConfig::default());
    assert_eq!(read(json!({})).unwrap(), DiscoveryConfig::default());
}

#[test]
fn a_bad_setting_is_named_with_what_would_be_right() {
    for (json, expected) in [
        (
            json!({"strategies": []}),
            "discovery.strategies: is empty; name at least one of default,",
        ),
        (json!({"strategies": ["dns", "dns"]}), "dns stands there twice"),
        (
            json!({"strategies": ["mdns"]}),
            "\"mdns\" is not a strategy; use one of default, registry",
        ),
        (json!({"timeouts": {"overall": "0s"}}), "discovery.timeouts.overall: no time at all"),
        (json!({"cache": {"max_entries": 0}}), "set discovery.cache.enabled to false"),
        (
            json!({"registry_url": "https://r"}),
            "discovery.registry_url: \"https://r\" is no address",
        ),
        (json!({"dns": {"domain": "a..b"}}), "discovery.dns.domain: \"a..b\" is no domain"),
        (json!({"dns": {"domain": ""}}), "it is empty"),
        (json!({"default_ports": {"api": 0}}), "integer `0`"),
        (json!({"default_ports": {"a b": 1}}), "' ' at position 2"),
        (json!({"retires": 1}), "unknown field `retires`"),
        (json!({"dns": {"servers": ["localhost"]}}), "socket address"),
    ] {
        let error = read(json.clone()).unwrap_err();
        assert!(error.contains(expected), "{json}: {error}");
    }
    let off = json!({"cache": {"enabled": false, "max_entries": 0}});
    assert!(read(off).is_ok());
}
