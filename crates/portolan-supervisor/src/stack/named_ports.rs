//! The setting `ports` of a service: its additional ports by name.

use std::collections::BTreeMap;

use portolan_core::{PortName, PortRange};
use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::port_spec::RangeText;
use crate::service::NamedPort;

/// A value under `ports`.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a port from 1 to 65535, a list of such, a range such as 9100-9110, nothing, or a map of these as port, range, \
                 strict and pool: {port: [9100, 9101], strict: true}"
)]
enum Written {
    Ports(Numbers),
    Range(RangeText),
    Nothing(()),
    Map(WrittenMap),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Numbers {
    One(u16),
    List(Vec<u16>),
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct WrittenMap {
    port: Option<Numbers>,
    range: Option<RangeText>,
    #[serde(default)]
    strict: bool,
    pool: Option<String>,
}

/// Deserializes `ports`, ordered by name.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<NamedPort>, D::Error> {
    let ports = BTreeMap::<PortName, Written>::deserialize(input)?;
    ports
        .into_iter()
        .map(|(name, value)| named_port(name, value).map_err(D::Error::custom))
        .collect()
}

fn named_port(name: PortName, value: Written) -> Result<NamedPort, String> {
    let WrittenMap { port, range, strict, pool } = match value {
        Written::Ports(ports) => WrittenMap { port: Some(ports), ..WrittenMap::default() },
        Written::Range(range) => WrittenMap { range: Some(range), ..WrittenMap::default() },
        Written::Nothing(()) => WrittenMap::default(),
        Written::Map(map) => map,
    };
    let preferred = match port {
        None => Vec::new(),
        Some(Numbers::One(port)) => vec![port],
        Some(Numbers::List(ports)) if ports.is_empty() => {
            return Err(format!("{name}: an empty list of ports"));
        }
        Some(Numbers::List(ports)) => ports,
    };
    if preferred.contains(&0) {
        return Err("invalid port 0, expected 1-65535".to_owned());
    }
    if range.is_some() && pool.is_some() {
        return Err(format!("{name}: a range has no effect beside a pool"));
    }
    if strict && (preferred.is_empty() || range.is_some()) {
        return Err(format!("{name}: strict has no effect without a port, or beside a range"));
    }
    Ok(NamedPort { name, preferred, range: range.map(PortRange::from), strict, pool })
}
