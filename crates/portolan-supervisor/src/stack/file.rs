//! The part of `portolan.yaml` that describes a stack.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use portolan_core::{Protocol, Scope, ServiceName, Ttl, env, fnv1a, suggest};
use portolan_health::CheckSpec;
use portolan_port_allocator::BindAddress;
use serde::Deserialize;

pub use super::error::InvalidStack;
pub use super::files::FileEntry;
pub use super::grace::Grace;
pub use super::needs::{Condition, Needs};
pub use super::port_spec::{MainPort, RangeText};
use crate::service::{NamedPort, validate};
use crate::{CommandLine, Handoff, StopSignal, placeholders};

/// A stack file: a name and services.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StackFile {
    /// The scope of the stack. `None` is derived from the directory ([`scope_of_folder`]).
    pub name: Option<Scope>,
    /// The services by name.
    #[serde(default)]
    pub services: BTreeMap<ServiceName, ServiceEntry>,
}

/// One service of a stack.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceEntry {
    /// The command: text that is split like a POSIX shell does, or a list of words. `{port}` and
    /// `{port:NAME}` are replaced by leased ports, `{fd}` and `{fd:NAME}` by inherited sockets.
    pub command: CommandLine,
    /// The preferred port, a list of such in order, or `none`. Default: the default port of the pool.
    #[serde(default)]
    pub port: MainPort,
    /// Whether the port must be one of the preferred ones.
    #[serde(default)]
    pub strict: bool,
    /// The range of the port, such as `3000-3010`, instead of that of a pool.
    pub range: Option<RangeText>,
    /// The pool. Default: the pool that the configuration or the service name implies.
    pub pool: Option<String>,
    /// Additional ports by name: a number, `{port: 9100, pool: metrics}`, or empty.
    #[serde(default, deserialize_with = "super::port_spec::named_ports")]
    pub ports: Vec<NamedPort>,
    /// The listen address: `all`, `loopback`, or an IP address of this host.
    #[serde(default)]
    pub bind: BindAddress,
    /// Whether each port must be free for UDP as well.
    #[serde(default)]
    pub udp: bool,
    /// The protocol. Default: the protocol of the pool.
    pub protocol: Option<Protocol>,
    /// The version, as free text.
    #[serde(default)]
    pub version: String,
    /// The health check; [`CheckSpec`] lists the forms.
    pub health: Option<CheckSpec>,
    /// Metadata of the registration.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// Environment variables. Placeholders are replaced as in `command`.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The working directory, relative to the stack file.
    pub directory: Option<PathBuf>,
    /// How the program gets its ports.
    #[serde(default)]
    pub handoff: Handoff,
    /// Files that are rendered before the program starts, and again while it runs.
    #[serde(default)]
    pub files: Vec<FileEntry>,
    /// The signal that asks the program to end.
    pub stop_signal: Option<StopSignal>,
    /// The time between the stop signal and SIGKILL, such as `10s`.
    pub grace: Option<Grace>,
    /// The services that must be discoverable and healthy, or in another state, before this one starts.
    #[serde(default)]
    pub needs: Needs,
    /// The number of instances. Each has its own port.
    #[serde(default = "one")]
    pub instances: u16,
    /// The TTL of the registration. Default: the configured one.
    pub ttl: Option<Ttl>,
}

/// The maximum number of instances of a service. It limits the damage of a typing error.
pub const MAX_INSTANCES: u16 = 64;

// === impl StackFile ===

impl StackFile {
    /// Checks the constraints that the types do not express.
    pub fn validate(&self) -> Result<(), InvalidStack> {
        if self.services.is_empty() {
            return Err(InvalidStack::Empty);
        }
        for (service, entry) in &self.services {
            self.validate_entry(service, entry)?;
        }
        super::start_order::levels(&self.services).map(drop)
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
        if let Some(key) = entry.key_without_port().filter(|_| entry.port == MainPort::None) {
            return Err(InvalidStack::Portless { service, key });
        }
        if entry.range.is_some() && entry.pool.is_some() {
            return Err(InvalidStack::RangeAndPool { service });
        }
        super::files::validate(&service, entry)?;
        entry.validate_strict(&service)?;
        self.validate_needs(&service, &entry.needs)?;
        let portless = |need: &&ServiceName| {
            self.services.get(*need).is_some_and(|needed| needed.port == MainPort::None)
        };
        if let Some(need) = entry.needs.ready.iter().find(portless).cloned() {
            return Err(InvalidStack::NeedsPortless { service, need });
        }
        if let Err(source) = env::check(&entry.needs.ready, "") {
            return Err(InvalidStack::Variables { service, source });
        }
        validate(&entry.command, &entry.env, &entry.ports, entry.handoff)
            .map_err(|source| InvalidStack::Service { service, source })
    }

    /// A need outside the stack is allowed if it can be discovered, and is not a slip in the name of a service of the stack.
    fn validate_needs(&self, service: &ServiceName, needs: &Needs) -> Result<(), InvalidStack> {
        for need in needs.names().filter(|need| !self.services.contains_key(*need)) {
            let (service, need) = (service.clone(), need.clone());
            // `redis-2` beside `redis-1` is another service.
            let digits = |name: &str| name.chars().filter(char::is_ascii_digit).collect::<String>();
            let names = self.services.keys().map(ServiceName::as_str);
            let known = names.filter(|name| digits(name) == digits(need.as_str()));
            if let Some(similar) = suggest(need.as_str(), known).map(str::to_owned) {
                return Err(InvalidStack::NeedsSimilar { service, need, similar });
            }
            if needs.others.iter().any(|(name, _)| *name == need) {
                return Err(InvalidStack::NeedsForeign { service, need });
            }
        }
        Ok(())
    }
}

// === impl ServiceEntry ===

impl ServiceEntry {
    fn validate_strict(&self, service: &ServiceName) -> Result<(), InvalidStack> {
        let service = service.clone();
        match &self.port {
            _ if !self.strict => Ok(()),
            _ if self.range.is_some() => Err(InvalidStack::StrictRange { service }),
            MainPort::Preferred(ports) if usize::from(self.instances) > ports.len() => {
                let (instances, ports) = (self.instances, ports.len());
                Err(InvalidStack::StrictInstances { service, instances, ports })
            }
            MainPort::Preferred(_) => Ok(()),
            _ => Err(InvalidStack::StrictWithoutPort { service }),
        }
    }

    /// Returns the first key that has no effect without a port.
    fn key_without_port(&self) -> Option<&'static str> {
        let checks = self.health.as_ref().is_some_and(|check| !check.is_none());
        [
            ("command", self.command.mentions_port()),
            ("env", self.env.values().any(|value| placeholders::has_placeholder(value))),
            ("pool", self.pool.is_some()),
            ("range", self.range.is_some()),
            ("strict", self.strict),
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

/// Derives a scope from a directory: its name and six hex digits of a hash of its path, so that two
/// working copies of a project have different scopes.
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
mod tests;
