use std::collections::BTreeSet;

use portolan_core::ServiceName;
use portolan_server::Settings;
use portolan_supervisor::stack::ServiceEntry;
use serde::Deserialize as _;
use serde::de::Visitor;
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
    // YAML 1.2, in which `no` is a text.
    let options = serde_saphyr::options! { strict_booleans: true };
    let document: Value = serde_saphyr::from_str_with_options(yaml, options).unwrap();
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
        "x-common: &common {env: {A: b}}\nservices: {api: {<<: *common, command: api}}",
        "services: {api: {command: api, health: {check: 'http:/x', status: [200, 300-399], interval: 5s}}}",
        "services: {api: {command: api, health: {all: [tcp, process], interval: 5s}}}",
        "services: {api: {command: [api, 1], ports: {metrics: 9100, admin: {pool: web}, x: }}}",
    ] {
        assert!(is_valid(yaml), "{yaml}");
    }
}

/// Returns whether `up` reads the services of this configuration.
fn is_read(yaml: &str) -> bool {
    let loader = Settings::loader([]).contents("portolan.yaml", yaml.as_bytes().to_vec());
    let Ok(mut loaded) = loader.load() else { return false };
    let set = |name: &str| (name == "SET").then(|| "2".to_owned());
    let problems = loaded.document.interpolate("services", &set);
    let read = loaded.document.entries::<ServiceName, ServiceEntry>("services");
    problems.is_empty() && read.problems.is_empty()
}

/// What one of them accepts, the other one accepts as well. Constraints between keys are not part of the schema.
#[test]
fn schema_and_parser_accept_the_same_services() {
    let service = |keys: &str| format!("services:\n  api:\n    command: api\n    {keys}\n");
    for (keys, valid) in include_str!("tests/service_keys.txt").lines().filter_map(|line| {
        let (mark, keys) = line.split_once(' ').filter(|(mark, _)| *mark != "#")?;
        Some((keys, mark == "+"))
    }) {
        let yaml = service(keys);
        assert_eq!(
            (is_read(&yaml), is_valid(&yaml)),
            (valid, valid),
            "read, in the schema: {yaml}"
        );
    }
}

#[test]
fn schema_has_the_keys_of_a_service_and_no_other() {
    let Err(Keys(known)) = ServiceEntry::deserialize(KeysOf) else { panic!("no struct") };
    let schema = schema();
    let properties = schema["$defs"]["service"]["properties"].as_object().unwrap();
    let described: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
    assert_eq!(described, known.iter().copied().collect::<BTreeSet<_>>());
}

/// A deserializer that returns the keys of a struct as its error.
struct KeysOf;

#[derive(Debug)]
struct Keys(&'static [&'static str]);

impl<'de> serde::Deserializer<'de> for KeysOf {
    type Error = Keys;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Keys> {
        Err(Keys(&[]))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        keys: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Keys> {
        Err(Keys(keys))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl std::error::Error for Keys {}

impl std::fmt::Display for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl serde::de::Error for Keys {
    fn custom<T: std::fmt::Display>(_: T) -> Self {
        Self(&[])
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
