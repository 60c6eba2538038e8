//! The names that scripts rely on: commands and settings are not renamed or removed.

use anyhow::{Context, ensure};
use portolan_tests::isolated;
use serde_json::Value;

const COMMANDS: [&str; 42] = [
    "announce",
    "audit verify",
    "ca init",
    "ca issue",
    "completions",
    "compose",
    "config check",
    "config get",
    "config history",
    "config rollback",
    "config schema",
    "config set",
    "config show",
    "deregister",
    "discover",
    "docker",
    "doctor",
    "exec",
    "health",
    "heartbeat",
    "kubernetes",
    "list",
    "listen",
    "ports alloc",
    "ports check",
    "ports list",
    "ports release",
    "ports wait",
    "prune",
    "register",
    "render",
    "run",
    "serve",
    "store check",
    "store export",
    "store import",
    "token create",
    "token list",
    "token revoke",
    "trust",
    "up",
    "watch",
];

/// Settings, and keys of a service in a stack file.
const SETTINGS: [&str; 41] = [
    "broadcast.channels.address",
    "broadcast.channels.interfaces",
    "broadcast.channels.keys",
    "broadcast.keys.file",
    "broadcast.keys.id",
    "broadcast.multicast_address",
    "discovery.registry_urls",
    "discovery.tls.ca",
    "discovery.tls.certificate",
    "discovery.tls.key",
    "discovery.token_file",
    "port_allocator.restrict_to_ranges",
    "service_registry.consul.tls.ca",
    "service_registry.consul.tls.certificate",
    "service_registry.consul.tls.key",
    "service_registry.consul.token_file",
    "service_registry.consul.url",
    "service_registry.data_dir",
    "service_registry.etcd.endpoints",
    "service_registry.etcd.password_file",
    "service_registry.etcd.prefix",
    "service_registry.etcd.tls.ca",
    "service_registry.etcd.tls.certificate",
    "service_registry.etcd.tls.key",
    "service_registry.etcd.username",
    "service_registry.policies",
    "service_registry.tls.certificate",
    "service_registry.tls.client_ca",
    "service_registry.tls.key",
    "services.NAME.directory",
    "services.NAME.env_file",
    "services.NAME.grace",
    "services.NAME.needs",
    "services.NAME.range",
    "services.NAME.restart",
    "services.NAME.shell",
    "services.NAME.stop_command",
    "services.NAME.stop_signal",
    "services.NAME.strict",
    "services.NAME.tty",
    "services.NAME.user",
];

/// Returns the schemas of a setting below these: its members', those of a list's items, and those of entries with any name.
fn below<'a>(root: &'a Value, schema: &'a Value, name: &str) -> Vec<&'a Value> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.trim_start_matches('#'));
        return target.map(|target| below(root, target, name)).unwrap_or_default();
    }
    let mut found: Vec<&Value> = schema["properties"].get(name).into_iter().collect();
    if name == "NAME" {
        let named = schema["patternProperties"].as_object();
        found.extend(named.into_iter().flat_map(|it| it.values()));
        found.extend(schema.get("additionalProperties").filter(|it| it.is_object()));
    }
    let alternatives = ["anyOf", "oneOf", "allOf"].into_iter();
    let alternatives = alternatives.filter_map(|it| schema[it].as_array()).flatten();
    found.extend(alternatives.flat_map(|schema| below(root, schema, name)));
    found.extend(schema.get("items").into_iter().flat_map(|schema| below(root, schema, name)));
    found
}

#[test]
fn commands_have_their_names() {
    isolated(|env| {
        for command in COMMANDS {
            let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
            let help = env.portolan(&words)?.run()?.exits(0).context(command)?.stdout;
            ensure!(help.contains("Usage:"), "{command}: {help}");
        }
        Ok(())
    });
}

#[test]
fn settings_have_their_names() {
    isolated(|env| {
        let printed = env.portolan(&["config", "schema"])?.run()?.exits(0)?.stdout;
        let root: Value = serde_json::from_str(&printed)?;
        for setting in SETTINGS {
            let schemas = setting.split('.').fold(vec![&root], |schemas, name| {
                schemas.into_iter().flat_map(|schema| below(&root, schema, name)).collect()
            });
            ensure!(!schemas.is_empty(), "no setting {setting}");
        }
        Ok(())
    });
}
