//! The part of `portolan.yaml` that describes a stack: its name and its services.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use portolan_core::{PortName, Protocol, Scope, ServiceName, Ttl, fnv1a};
use portolan_health::CheckSpec;
use portolan_port_allocator::BindAddress;
use serde::Deserialize;

pub use super::wish::{NamedWish, PortWish};
use crate::service::{InvalidService, NamedPort, check};
use crate::{CommandLine, Handoff, placeholders};

/// The services that are started together.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StackFile {
    /// The stack's scope; where it has none, its folder makes one ([`scope_of_folder`]).
    pub name: Option<Scope>,
    /// Each service under its name.
    #[serde(default)]
    pub services: BTreeMap<ServiceName, ServiceEntry>,
}

/// One service of a stack.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceEntry {
    /// What to start: a text that is split like a shell's, or a list. `{port}` is the leased port,
    /// `{port:NAME}` a further one, `{fd}` and `{fd:NAME}` the sockets on them.
    pub command: CommandLine,
    /// The port it would like, or `none`; the pool's default where nothing is said.
    #[serde(default)]
    pub port: PortWish,
    /// The pool its port comes from; told by its name where nothing is said.
    pub pool: Option<String>,
    /// Further ports, each under its name: a number, `{port: 9100, pool: metrics}`, or nothing.
    #[serde(default)]
    pub ports: BTreeMap<PortName, NamedWish>,
    /// The address that it listens on: `all`, `loopback`, or one of this host.
    #[serde(default)]
    pub bind: BindAddress,
    /// Whether it needs its ports in UDP as well.
    #[serde(default)]
    pub udp: bool,
    /// What it speaks; the pool's protocol where nothing is said.
    pub protocol: Option<Protocol>,
    /// Its version, in its own words.
    #[serde(default)]
    pub version: String,
    /// How its health is checked; [`CheckSpec`] lists the forms.
    pub health: Option<CheckSpec>,
    /// Facts that are announced with it.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// Variables of its environment; `{port}` is the leased port.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The folder it starts in, relative to the file.
    pub directory: Option<PathBuf>,
    /// How its program gets its ports.
    #[serde(default)]
    pub handoff: Handoff,
    /// The services that must be found, and well, before it starts.
    #[serde(default)]
    pub needs: Vec<ServiceName>,
    /// How many of it to start, each on a port of its own.
    #[serde(default = "one")]
    pub instances: u16,
    /// How long it stays known without a sign of life.
    pub ttl: Option<Ttl>,
}

/// The most instances that one entry starts: a slip of the finger starts no thousand processes.
pub const MAX_INSTANCES: u16 = 64;

/// Why a stack cannot be started. Retrying does not help: the file must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidStack {
    /// Nothing to start.
    #[error("services: there are none; add one, with the command that starts it")]
    Empty,
    /// No instance, or too many.
    #[error("services.{service}.instances: {found} is not from 1 to {MAX_INSTANCES}")]
    Instances {
        /// The service.
        service: ServiceName,
        /// What the file says.
        found: u16,
    },
    /// A need of itself, directly or through others.
    #[error("services: {} need one another, so none can be first; take one of the needs out", cycle.join(" -> "))]
    Cycle {
        /// The services, in the order in which they need each other.
        cycle: Vec<String>,
    },
    /// Something that only a service with a port can have.
    #[error(
        "services.{service}.{key}: the service has no port (port: none), so this does nothing; take it out, or give it a port"
    )]
    Portless {
        /// The service.
        service: ServiceName,
        /// The key that does nothing.
        key: &'static str,
    },
    /// `needs` names a service that listens nowhere.
    #[error(
        "services.{service}.needs: {need} has no port, so there is nothing to find; give it one, or take the need out"
    )]
    NeedsPortless {
        /// The service.
        service: ServiceName,
        /// What it needs.
        need: ServiceName,
    },
    /// Its command, its variables and its ports do not go together.
    #[error("services.{service}: {source}")]
    Service {
        /// The service.
        service: ServiceName,
        /// Why not.
        source: InvalidService,
    },
}

// === impl InvalidStack ===

impl InvalidStack {
    /// The key that must change, written like `services.api.needs`.
    pub fn path(&self) -> String {
        match self {
            Self::Empty | Self::Cycle { .. } => "services".to_owned(),
            Self::Instances { service, .. } => format!("services.{service}.instances"),
            Self::Portless { service, key } => format!("services.{service}.{key}"),
            Self::NeedsPortless { service, .. } => format!("services.{service}.needs"),
            Self::Service { service, .. } => format!("services.{service}"),
        }
    }
}

// === impl StackFile ===

impl StackFile {
    /// Checks what the types do not carry.
    pub fn validate(&self) -> Result<(), InvalidStack> {
        if self.services.is_empty() {
            return Err(InvalidStack::Empty);
        }
        for (service, entry) in &self.services {
            self.validate_entry(service, entry)?;
        }
        super::order::levels(&self.services).map(drop)
    }

    fn validate_entry(
        &self,
        service: &ServiceName,
        entry: &ServiceEntry,
    ) -> Result<(), InvalidStack> {
        let (service, found) = (service.clone(), entry.instances);
        if !(1..=MAX_INSTANCES).contains(&found) {
            return Err(InvalidStack::Instances { service, found });
        }
        if let Some(key) = entry.key_without_port().filter(|_| entry.port == PortWish::None) {
            return Err(InvalidStack::Portless { service, key });
        }
        let portless = |need: &&ServiceName| {
            self.services.get(*need).is_some_and(|needed| needed.port == PortWish::None)
        };
        if let Some(need) = entry.needs.iter().find(portless).cloned() {
            return Err(InvalidStack::NeedsPortless { service, need });
        }
        check(&entry.command, &entry.env, &entry.named_ports(), entry.handoff)
            .map_err(|source| InvalidStack::Service { service, source })
    }
}

// === impl ServiceEntry ===

impl ServiceEntry {
    /// Its further ports.
    pub(super) fn named_ports(&self) -> Vec<NamedPort> {
        let named = self.ports.iter();
        named.map(|(name, wish)| wish.clone().into_port(name.clone())).collect()
    }

    /// The first key that says something of a port, the wish itself aside.
    fn key_without_port(&self) -> Option<&'static str> {
        let checks = self.health.as_ref().is_some_and(|check| !check.is_none());
        [
            ("command", self.command.mentions_port()),
            ("env", self.env.values().any(|value| placeholders::is_in(value))),
            ("pool", self.pool.is_some()),
            ("protocol", self.protocol.is_some()),
            ("health", checks),
            ("ttl", self.ttl.is_some()),
            ("ports", !self.ports.is_empty()),
            ("bind", self.bind != BindAddress::Any),
            ("udp", self.udp),
            ("handoff", self.handoff != Handoff::Auto),
        ]
        .into_iter()
        .find_map(|(key, says)| says.then_some(key))
    }
}

/// The scope of a stack without a name: its folder's name and six hex digits of the whole path,
/// so that two working copies of one project do not meet.
pub fn scope_of_folder(folder: &Path) -> Scope {
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let name: String = name.chars().map(allowed).take(100).collect();
    let name = match name.trim_matches('-') {
        "" => "stack",
        name => name,
    };
    let digits = fnv1a(folder.as_os_str().as_encoded_bytes().iter().copied()) & 0x00ff_ffff;
    format!("{name}-{digits:06x}").parse().expect("letters, digits and hyphens make a scope")
}

fn one() -> u16 {
    1
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
