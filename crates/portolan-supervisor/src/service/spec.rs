//! The description of a service: its program, its ports and its registration.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use portolan_broadcast::interfaces::is_own_address;
use portolan_core::{Host, Pools, Protocol, Registration, Scope, ServiceName, Ttl};
use portolan_health::CheckSpec;
use portolan_port_allocator::BindAddress;

use super::leases::{Leases, PortEnv};
use super::port_spec::reachable_address;
use super::{PortSpec, ServiceDeps};
use crate::child::{Launch, Terminal};
use crate::handoff::{HandoffMode, stop_signal};
use crate::leftovers::OwnerRecord;
use crate::placeholders::Placeholders;
use crate::{Account, CommandLine, Handoff, StopSignal};

/// A program to run as a service.
#[derive(Debug, Clone)]
pub struct ServiceSpec {
    /// The name of the service.
    pub name: ServiceName,
    /// The scope of the service.
    pub scope: Scope,
    /// The command.
    pub command: CommandLine,
    /// The ports. Without ports the service is not registered.
    pub port: Option<PortSpec>,
    /// The host under which the service is registered.
    pub host: Host,
    /// Whether the program is registered at every address that its socket listens on, of which `host` is
    /// the preferred one. False if the user gave the host or the address to bind.
    pub follow_addresses: bool,
    /// The protocol. Default: the protocol of the pool.
    pub protocol: Option<Protocol>,
    /// The version, as free text.
    pub version: String,
    /// Metadata of the registration.
    pub metadata: BTreeMap<String, String>,
    /// The health check; `None` disables health checking.
    pub check: Option<CheckSpec>,
    /// The TTL of the registration, renewed by heartbeats.
    pub ttl: Ttl,
    /// How long the program still runs after the registry has said that it is about to stop, so that its callers leave.
    pub drain: Duration,
    /// The configured hand-off.
    pub handoff: Handoff,
    /// Environment variables. Placeholders are replaced as in the command.
    pub environment: BTreeMap<String, String>,
    /// Values of further placeholders in the command and the environment.
    pub placeholders: Placeholders,
    /// The user and the group of the program; `None` are those of this process.
    pub account: Option<Account>,
    /// The working directory; `None` is that of this process.
    pub directory: Option<PathBuf>,
    /// What stops the program before the signal is sent; `None` is the signal alone.
    pub stop_command: Option<CommandLine>,
    /// The signal that asks the program to end. Default: that of a known program, else SIGTERM.
    pub stop_signal: Option<StopSignal>,
    /// How the program is connected to the terminal.
    pub terminal: Terminal,
}

// === impl ServiceSpec ===

impl ServiceSpec {
    /// Returns the addresses of this host at which the program may be reached once it listens. The advertised
    /// host may be another one, such as a load balancer, behind which another instance would answer.
    pub(super) fn probed_addresses(&self, port: u16) -> Vec<String> {
        let bind = self.port.as_ref().map_or(BindAddress::Any, |port| port.bind);
        let own = self.host.address().filter(|address| is_own_address(*address));
        let any = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let bound = match bind {
            BindAddress::Any => any.to_vec(),
            bind => vec![reachable_address(bind)],
        };
        let mut addresses: Vec<IpAddr> = own.into_iter().chain(bound).collect();
        addresses.dedup();
        addresses.into_iter().map(|address| SocketAddr::new(address, port).to_string()).collect()
    }

    /// Returns the resolved hand-off.
    pub(super) fn handoff_mode(&self) -> HandoffMode {
        self.handoff.mode_for(&self.command, &self.environment)
    }

    pub(super) fn stop_signal(&self) -> StopSignal {
        self.stop_signal.unwrap_or_else(|| stop_signal(&self.command))
    }

    /// Returns how to start the program with these ports, and how to start the command that stops it.
    pub(super) fn launch(&self, told: PortEnv, deps: &ServiceDeps) -> (Launch, Option<Launch>) {
        let PortEnv { places, variables } = told;
        let places = places.and(self.placeholders.clone());
        let program = self.launch_program(&places, variables, deps);
        let stop_command = self.stop_command.as_ref().map(|command| Launch {
            command: command.substituted(&places),
            terminal: Terminal::Captured { closed_stdin: true },
            marker: deps.record.as_ref().map(OwnerRecord::next_marker),
            ..program.clone()
        });
        (program, stop_command)
    }

    fn launch_program(
        &self,
        places: &Placeholders,
        variables: BTreeMap<String, String>,
        deps: &ServiceDeps,
    ) -> Launch {
        let given = self.environment.iter();
        let mut environment: BTreeMap<String, String> =
            given.map(|(name, value)| (name.clone(), places.substitute(value))).collect();
        let of_account = self.account.iter().flat_map(Account::environment);
        for (name, value) in variables.into_iter().chain(of_account) {
            environment.entry(name).or_insert(value);
        }
        let marker = deps.record.as_ref().map(OwnerRecord::next_marker);
        Launch {
            command: self.command.substituted(places),
            environment,
            account: self.account.clone(),
            directory: self.directory.clone(),
            terminal: self.terminal,
            shim: deps.shim.clone(),
            marker,
        }
    }

    /// Returns the registration. Named ports become metadata such as `port.metrics`.
    pub(super) fn registration(&self, leases: &Leases, pools: &Pools) -> Registration {
        let ports = leases.named().map(|(name, port)| (format!("port.{name}"), port.to_string()));
        let registration = Registration::new(self.name.clone(), self.host.clone(), leases.port());
        Registration {
            scope: self.scope.clone(),
            protocol: self.protocol.clone().unwrap_or_else(|| self.pool_protocol(pools)),
            version: self.version.clone(),
            metadata: self.metadata.clone().into_iter().chain(ports).collect(),
            ttl: Some(self.ttl),
            ..registration
        }
    }

    fn pool_protocol(&self, pools: &Pools) -> Protocol {
        let pool = self.port.as_ref().and_then(|port| port.pool.as_deref());
        pools.protocol(pool, self.name.as_str()).unwrap_or_default()
    }
}
