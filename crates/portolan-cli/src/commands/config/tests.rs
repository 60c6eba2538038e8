use std::collections::BTreeSet;

use portolan_server::Settings;
use serde_json::{Value, json};

use super::SCHEMA;

/// The configuration of the specification (appendix A), without lists that are shown there in part.
const SPECIFICATION: &str = r#"
port_allocator:
  enabled: true
  allow_ephemeral: false
  port_ranges:
    database: { start: 5433, end: 5442 }
    cache: { start: 6380, end: 6389 }
    api: { start: 8081, end: 8099 }
  reserved_ports: [22, 80, 443]
service_registry:
  enabled: true
  listen_address: "0.0.0.0:7000"
  storage_backend: "memory"
  ttl_default: 60s
  cleanup_interval: 30s
broadcast:
  enabled: true
  multicast_address: "239.255.0.1:7001"
  interface: "0.0.0.0"
  ttl: 60s
  announce_interval: 30s
discovery:
  enabled: true
  registry_url: "http://localhost:7000"
  strategies: [default, registry, broadcast, dns]
  timeouts:
    default_port_check: 100ms
    registry_lookup: 1s
    broadcast_wait: 5s
    dns_resolution: 2s
    overall: 10s
  cache:
    enabled: true
    ttl: 5m
    max_entries: 1000
"#;

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

fn is_valid(yaml: &str) -> bool {
    let document: Value = serde_saphyr::from_str(yaml).unwrap();
    jsonschema::draft202012::is_valid(&schema(), &document)
}

/// Compares the properties of a section with its default value, and the sections below it.
fn assert_describes(schema: &Value, default: &Value, path: &str) {
    let properties = schema["properties"].as_object().unwrap();
    let defaults = default.as_object().unwrap();
    let stack_keys = ["name", "services"].into_iter().filter(|_| path.is_empty());
    let described: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
    let existing: BTreeSet<&str> = defaults.keys().map(String::as_str).chain(stack_keys).collect();
    assert_eq!(described, existing, "settings of {path:?}");
    for (key, default) in defaults {
        let (property, path) = (&properties[key], format!("{path}.{key}"));
        assert!(property["description"].is_string(), "{path} has no description");
        if property.get("properties").is_some() {
            assert_describes(property, default, &path);
        } else {
            assert_eq!(property["default"], *default, "default of {path}");
        }
    }
}

#[test]
fn schema_describes_every_setting_with_its_default() {
    assert!(jsonschema::meta::is_valid(&schema()));
    let defaults = serde_json::to_value(Settings::default()).unwrap();
    assert_describes(&schema(), &defaults, "");
}

#[test]
fn valid_configurations_match_the_schema() {
    for yaml in [
        include_str!("../../../../../portolan.yaml"),
        include_str!("../../../../../examples/helixcode/portolan.yaml"),
        SPECIFICATION,
        "broadcast:\nservices:\n",
        "services: {api: {command: api, health: {check: 'http:/x', status: [200, 300-399], interval: 5s}}}",
        "services: {api: {command: api, health: {all: [tcp, process], interval: 5s}}}",
        "services: {api: {command: [api, 1], ports: {metrics: 9100, admin: {pool: web}, x: }}}",
    ] {
        assert!(is_valid(yaml), "{yaml}");
    }
}

#[test]
fn invalid_configurations_do_not_match_the_schema() {
    for yaml in [
        "discovery: {timeots: {}}",
        "discovery: {timeouts: {overall: 5}}",
        "port_allocator: {port_ranges: {web: {start: 0, end: 9}}}",
        "service_registry: {storage_backend: paper}",
        "services: {api: {port: 8080}}",
        "services: {api: {command: api, instances: 0}}",
        "services: {api: {command: api, health: {interval: 5s}}}",
        "services: {api: {command: api, health: {check: tcp, intervall: 5s}}}",
        "services: {api: {command: api, health: {check: tcp, all: [tcp]}}}",
        "health: {jitter: 0.6}",
    ] {
        assert!(!is_valid(yaml), "{yaml}");
    }
    assert!(!jsonschema::draft202012::is_valid(&schema(), &json!([])));
}
