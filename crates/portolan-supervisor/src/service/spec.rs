//! What a service is: the program, the ports it would like, and what others are told of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use portolan_core::{Host, Pools, Protocol, Registration, Scope, ServiceName, Ttl};
use portolan_health::CheckSpec;

use super::PortSpec;
use super::leases::{Leases, Told};
use crate::child::{Launch, Terminal};
use crate::handoff::Way;
use crate::{CommandLine, Handoff};

/// A program to run as a service.
#[derive(Debug, Clone)]
pub struct ServiceSpec {
    /// What the service is called.
    pub name: ServiceName,
    /// The world it is found in.
    pub scope: Scope,
    /// What to start.
    pub command: CommandLine,
    /// Its ports; none where it listens nowhere, and then it is not registered either.
    pub port: Option<PortSpec>,
    /// Where others reach it.
    pub host: Host,
    /// What it speaks; its pool's protocol where nothing is said.
    pub protocol: Option<Protocol>,
    /// Its version, in its own words.
    pub version: String,
    /// Facts that are announced with it.
    pub metadata: BTreeMap<String, String>,
    /// How its health is checked; nobody looks where there is none.
    pub check: Option<CheckSpec>,
    /// How long it stays known without a sign of life.
    pub ttl: Ttl,
    /// How its program gets its port.
    pub handoff: Handoff,
    /// Variables of its environment; `{port}` is the leased port.
    pub environment: BTreeMap<String, String>,
    /// The folder it starts in; here, where none is said.
    pub directory: Option<PathBuf>,
    /// How it stands to the terminal.
    pub terminal: Terminal,
}

// === impl ServiceSpec ===

impl ServiceSpec {
    /// How its program gets its port.
    pub(super) fn way(&self) -> Way {
        self.handoff.way_for(&self.command, &self.environment)
    }

    /// How to start its program, which is told this of its ports.
    pub(super) fn launch(&self, told: Told) -> Launch {
        let Told { places, variables } = told;
        let given = self.environment.iter();
        let mut environment: BTreeMap<String, String> =
            given.map(|(name, value)| (name.clone(), places.fill(value))).collect();
        for (name, value) in variables {
            environment.entry(name).or_insert(value);
        }
        Launch {
            command: self.command.filled(&places),
            environment,
            directory: self.directory.clone(),
            terminal: self.terminal,
        }
    }

    /// What is told of it; its further ports are facts such as `port.metrics`.
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
