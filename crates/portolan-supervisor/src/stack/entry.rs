//! One service of a stack file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use portolan_core::{Protocol, ServiceName, Ttl};
use portolan_health::CheckSpec;
use portolan_port_allocator::BindAddress;
use serde::Deserialize;

use super::command::{InvalidStackCommand, Shell, StackCommand};
use super::env_file::EnvFiles;
use super::error::InvalidStack;
use super::files::FileEntry;
use super::grace::{Drain, Grace};
use super::needs::Needs;
use super::port_spec::{MainPort, RangeText};
use super::restart::Restart;
use super::terminal::StdinMode;
use crate::service::NamedPort;
use crate::{Account, CommandLine, Handoff, InvalidAccount, StopSignal, placeholders};

/// One service of a stack.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceEntry {
    /// The command: text that is split like a POSIX shell does, or a list of words. `{port}` and
    /// `{port:NAME}` are replaced by leased ports, `{fd}` and `{fd:NAME}` by inherited sockets, and
    /// `{NEED.url}`, `{NEED.host}` and `{NEED.port}` by the address of a need.
    pub command: StackCommand,
    /// What runs the text of the command, instead of splitting it.
    #[serde(default)]
    pub shell: Shell,
    /// Whether a program that does not read `PORT` gets its port as an argument.
    #[serde(default = "yes")]
    pub port_argument: bool,
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
    /// Additional ports by name: a number, a list, a range, `{port: 9100, pool: metrics}`, or empty.
    #[serde(default, deserialize_with = "super::named_ports::deserialize")]
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
    /// Files with further environment variables.
    #[serde(default)]
    pub env_file: EnvFiles,
    /// The working directory, relative to the stack file.
    pub directory: Option<PathBuf>,
    /// The user of the program, by name or number. Default: that of Portolan.
    pub user: Option<String>,
    /// The group of the program, by name or number. Default: that of the user.
    pub group: Option<String>,
    /// How the program gets its ports.
    #[serde(default)]
    pub handoff: Handoff,
    /// Whether the program has a terminal of its own instead of pipes.
    #[serde(default)]
    pub tty: bool,
    /// Whether the program's standard input stays open.
    #[serde(default)]
    pub stdin: StdinMode,
    /// Files that are rendered before the program starts, and again while it runs.
    #[serde(default)]
    pub files: Vec<FileEntry>,
    /// When the program is started again.
    #[serde(default)]
    pub restart: Restart,
    /// The command that stops the program, before the signal; it is split, or run by the shell, like `command`.
    pub stop_command: Option<StackCommand>,
    /// The signal that asks the program to end.
    pub stop_signal: Option<StopSignal>,
    /// The time between the stop signal and SIGKILL, such as `10s`.
    pub grace: Option<Grace>,
    /// How long the program serves on after it is published as draining, before its stop signal, such as `5s`. A part of `grace`.
    pub drain: Option<Drain>,
    /// The services that must be discoverable and healthy, or in another state, before this one starts.
    #[serde(default)]
    pub needs: Needs,
    /// The number of instances. Each has its own port.
    #[serde(default = "one")]
    pub instances: u16,
    /// The TTL of the registration. Default: the configured one.
    pub ttl: Option<Ttl>,
}

// === impl ServiceEntry ===

impl ServiceEntry {
    /// Returns what is started.
    pub fn command_line(&self) -> Result<CommandLine, InvalidStackCommand> {
        self.command.line(&self.shell)
    }

    /// Returns what stops the program, before the signal.
    pub(super) fn stop_command_line(&self) -> Result<Option<CommandLine>, InvalidStackCommand> {
        self.stop_command.as_ref().map(|command| command.line(&self.shell)).transpose()
    }

    /// Returns the environment variables that have the leased ports.
    pub(super) fn port_variables(&self) -> Vec<String> {
        let main = (!matches!(self.port, MainPort::None)).then(|| "PORT".to_owned());
        main.into_iter().chain(self.ports.iter().map(NamedPort::variable)).collect()
    }

    pub(super) fn account(&self) -> Result<Option<Account>, InvalidAccount> {
        Account::find(self.user.as_deref(), self.group.as_deref())
    }

    pub(super) fn validate_strict(&self, service: &ServiceName) -> Result<(), InvalidStack> {
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

    /// Without a rest of the grace period, the program would be killed at once.
    pub(super) fn validate_drain(&self, service: &ServiceName) -> Result<(), InvalidStack> {
        let grace = self.grace.unwrap_or_default().duration();
        match self.drain.map(Drain::duration) {
            Some(drain) if drain >= grace && !drain.is_zero() => {
                Err(InvalidStack::Drain { service: service.clone(), drain, grace })
            }
            _ => Ok(()),
        }
    }

    /// Returns the first key that has no effect without a port.
    pub(super) fn key_without_port(&self) -> Option<&'static str> {
        let checks = self.health.as_ref().is_some_and(|check| !check.is_none());
        [
            ("command", self.command_line().is_ok_and(|command| command.mentions_port())),
            (
                "stop_command",
                self.stop_command_line().is_ok_and(|it| it.is_some_and(|it| it.mentions_port())),
            ),
            ("env", self.env.values().any(|value| placeholders::has_placeholder(value))),
            ("pool", self.pool.is_some()),
            ("range", self.range.is_some()),
            ("strict", self.strict),
            ("protocol", self.protocol.is_some()),
            ("health", checks),
            ("ttl", self.ttl.is_some()),
            ("drain", self.drain.is_some()),
            ("ports", !self.ports.is_empty()),
            ("bind", self.bind != BindAddress::Any),
            ("udp", self.udp),
            ("handoff", self.handoff != Handoff::Auto),
        ]
        .into_iter()
        .find_map(|(key, says)| says.then_some(key))
    }
}

fn yes() -> bool {
    true
}

fn one() -> u16 {
    1
}
