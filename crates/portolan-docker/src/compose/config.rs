//! The resolved configuration of a project: what `docker compose config` prints, with every file merged and every variable replaced.
//!
//! The ports are replaced in it, and not by an additional file: Compose joins the lists of ports of its files (ADR 0026).

use std::collections::{BTreeMap, BTreeSet};

use portolan_core::{ServiceName, quoted};
use serde_json::Value;

use super::port::{Entry, Published};
use super::{ComposeError, PublishedPort, ports_of};

/// How many ports of the host a project may publish.
pub(super) const MAX_PORTS: usize = 1_000;
/// The largest configuration in bytes.
const MAX_SIZE: usize = 16 << 20;
/// How deep it may be nested.
const MAX_DEPTH: usize = 100;
/// How many values it may have.
const MAX_NODES: usize = 1_000_000;
/// The label that selects the main port of a service.
const MAIN_PORT: &str = "portolan.port";

/// The resolved configuration of a project.
#[derive(Debug, Clone, PartialEq)]
pub struct ComposeConfig {
    document: Value,
    published: Vec<PublishedPort>,
}

// === impl ComposeConfig ===

impl ComposeConfig {
    /// Reads a configuration in YAML or JSON.
    ///
    /// # Errors
    /// It is no configuration, exceeds a limit, or has a port that cannot be read.
    pub fn parse(text: &str) -> Result<Self, ComposeError> {
        if text.len() > MAX_SIZE {
            return Err(ComposeError::Unreadable(format!("it has more than {MAX_SIZE} bytes")));
        }
        let document = serde_saphyr::from_str_with_options(text, options());
        let mut document: Value = document
            .map_err(|error| ComposeError::Unreadable(error.without_snippet().to_string()))?;
        if !document.get("services").is_some_and(Value::is_object) {
            return Err(ComposeError::Unreadable("it has no services".to_owned()));
        }
        expand_entries(&mut document)?;
        let published = find_published(&mut document)?;
        Ok(Self { document, published })
    }

    /// Returns the name of the project, which Compose v1 does not print.
    pub fn project(&self) -> Option<&str> {
        self.document.get("name")?.as_str()
    }

    /// Returns the ports of the host that the project asks for by number. If it asks for a range, or for any port, Docker assigns
    /// one that is free.
    pub fn published(&self) -> &[PublishedPort] {
        &self.published
    }

    /// Returns the configuration with these ports in place of [`published`](Self::published), in the same order: in JSON, which is YAML.
    ///
    /// # Panics
    /// The numbers are not as many as the ports.
    pub fn with_ports(&self, ports: &[u16]) -> String {
        assert_eq!(ports.len(), self.published.len(), "one number for each port");
        let asked = self.published.iter().map(|it| (it.service.clone(), it.preferred));
        let granted: BTreeMap<_, _> = asked.zip(ports).collect();
        let mut document = self.document.clone();
        for (service, entries) in port_lists(&mut document) {
            let Ok(service) = service.parse::<ServiceName>() else { continue };
            for value in entries {
                let Ok(entry) = Entry::parse(value) else { continue };
                let Published::One(number) = entry.published else { continue };
                if let Some(port) = granted.get(&(service.clone(), number)) {
                    entry.with_published(**port).write(value);
                }
            }
        }
        document.to_string()
    }
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 4 * MAX_NODES,
            max_total_scalar_bytes: MAX_SIZE,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_NODES,
            max_replay_stack_depth: MAX_DEPTH,
        },
        strict_booleans: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    }
}

/// Replaces each entry that stands for several ports by one entry for each.
fn expand_entries(document: &mut Value) -> Result<(), ComposeError> {
    let mut count = 0;
    for (service, entries) in port_lists(document) {
        let mut expanded = Vec::new();
        for value in entries.drain(..) {
            let wrong = |problem| {
                let entry = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                ComposeError::Port { service: printable(service), entry: quoted(&entry), problem }
            };
            expanded.extend(Entry::expanded(&value).map_err(wrong)?);
            if count + expanded.len() > MAX_PORTS {
                return Err(ComposeError::TooMany);
            }
        }
        count += expanded.len();
        *entries = expanded;
    }
    Ok(())
}

fn find_published(document: &mut Value) -> Result<Vec<PublishedPort>, ComposeError> {
    let mains = main_ports(document);
    let (mut found, mut names) = (Vec::new(), BTreeSet::new());
    for (service, entries) in port_lists(document) {
        let parsed = entries.iter().filter_map(|value| Entry::parse(value).ok());
        let mut parsed =
            parsed.filter(|entry| matches!(entry.published, Published::One(_))).peekable();
        if parsed.peek().is_none() {
            continue;
        }
        let invalid = |source| ComposeError::Name { service: printable(service), source };
        let name: ServiceName = service.parse().map_err(invalid)?;
        if !names.insert(name.clone()) {
            return Err(ComposeError::SameName(printable(service)));
        }
        found.extend(ports_of(&name, mains.get(service).copied(), parsed));
    }
    Ok(found)
}

/// Returns the main port in the container of each service that has a label for it.
fn main_ports(document: &Value) -> BTreeMap<String, u16> {
    let services = document.get("services").and_then(Value::as_object).into_iter().flatten();
    let main = |(name, service): (&String, &Value)| {
        let label = label(service.get("labels")?)?;
        Some((name.clone(), label.split('/').next()?.parse().ok()?))
    };
    services.filter_map(main).collect()
}

/// Labels are a map, or a list of `KEY=VALUE`.
fn label(labels: &Value) -> Option<String> {
    match labels {
        Value::Array(list) => {
            let value = |it: &Value| {
                let value = it.as_str()?.strip_prefix(MAIN_PORT)?.strip_prefix('=')?;
                Some(value.to_owned())
            };
            list.iter().find_map(value)
        }
        labels => match labels.get(MAIN_PORT)? {
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        },
    }
}

/// Returns the list of ports of each service that has one.
fn port_lists(document: &mut Value) -> impl Iterator<Item = (&String, &mut Vec<Value>)> {
    let services = document.get_mut("services").and_then(Value::as_object_mut);
    services.into_iter().flatten().filter_map(|(name, service)| {
        service.get_mut("ports").and_then(Value::as_array_mut).map(|entries| (name, entries))
    })
}

fn printable(service: &str) -> String {
    match service.bytes().all(|byte| byte.is_ascii_graphic()) && service.len() < 80 {
        true => service.to_owned(),
        false => quoted(service),
    }
}

#[cfg(test)]
mod tests;
