//! What a service is: the program, the port it would like, and what others are told of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use portolan_core::{Host, Pool, Protocol, Registration, Scope, ServiceName, Ttl};
use portolan_health::CheckSpec;
use portolan_port_allocator::{Depth, PortAllocatorConfig, PortRequest};

use crate::child::{Launch, Terminal};
use crate::command::fill_port;
use crate::{CommandLine, GuardPolicy};

/// A program to run as a service.
#[derive(Debug, Clone)]
pub struct ServiceSpec {
    /// What the service is called.
    pub name: ServiceName,
    /// The world it is found in.
    pub scope: Scope,
    /// What to start.
    pub command: CommandLine,
    /// Its port; none where it listens nowhere, and then it is not registered either.
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
    /// What happens to the guard when it starts.
    pub guard: GuardPolicy,
    /// Variables of its environment; `{port}` is the leased port.
    pub environment: BTreeMap<String, String>,
    /// The folder it starts in; here, where none is said.
    pub directory: Option<PathBuf>,
    /// How it stands to the terminal.
    pub terminal: Terminal,
}

/// Which port a service would like.
#[derive(Debug, Clone, Default)]
pub struct PortSpec {
    /// This one; the pool's default where nothing is said.
    pub preferred: Option<u16>,
    /// From this pool; told by the service's name where nothing is said.
    pub pool: Option<String>,
    /// Whether any port will do in the end; as configured where nothing is said, but always where
    /// nothing else says which port is meant.
    pub allow_ephemeral: Option<bool>,
    /// The folder that, with the service's name, remembers its last port.
    pub folder: Option<PathBuf>,
}

// === impl ServiceSpec ===

impl ServiceSpec {
    pub(super) fn port_request(
        &self,
        port: &PortSpec,
        config: &PortAllocatorConfig,
    ) -> PortRequest {
        let mut request =
            PortRequest::new(self.name.clone()).scope(self.scope.clone()).depth(Depth::Guarded);
        if let Some(preferred) = port.preferred {
            request = request.preferred(preferred);
        }
        if let Some(pool) = &port.pool {
            request = request.pool(pool);
        }
        // Where nothing says which port is meant, any port is what is meant.
        let any_port = !self.has_port_of_its_own(port, config);
        if let Some(allowed) = port.allow_ephemeral.or(any_port.then_some(true)) {
            request = request.allow_ephemeral(allowed);
        }
        match &port.folder {
            Some(folder) => request.folder(folder.clone()),
            None => request,
        }
    }

    fn has_port_of_its_own(&self, port: &PortSpec, config: &PortAllocatorConfig) -> bool {
        let name = self.name.as_str();
        port.preferred.is_some()
            || port.pool.is_some()
            || config.services.contains_key(name)
            || Pool::of_service(name).is_some()
    }

    pub(super) fn launch(&self, port: Option<u16>) -> Launch {
        let fill = |text: &str| port.map_or_else(|| text.to_owned(), |port| fill_port(text, port));
        let given = self.environment.iter().map(|(name, value)| (name.clone(), fill(value)));
        let mut environment: BTreeMap<String, String> = given.collect();
        if let Some(port) = port {
            environment.entry("PORT".to_owned()).or_insert_with(|| port.to_string());
        }
        Launch {
            command: port.map_or_else(|| self.command.clone(), |port| self.command.with_port(port)),
            environment,
            directory: self.directory.clone(),
            terminal: self.terminal,
        }
    }

    pub(super) fn registration(&self, port: u16) -> Registration {
        Registration {
            scope: self.scope.clone(),
            protocol: self.protocol.clone().unwrap_or_else(|| self.pool_protocol()),
            version: self.version.clone(),
            metadata: self.metadata.clone(),
            ttl: Some(self.ttl),
            ..Registration::new(self.name.clone(), self.host.clone(), port)
        }
    }

    fn pool_protocol(&self) -> Protocol {
        let named = self.port.as_ref().and_then(|port| port.pool.as_deref()).and_then(Pool::named);
        let pool = named.or_else(|| Pool::of_service(self.name.as_str()));
        pool.and_then(|pool| pool.protocol.parse().ok()).unwrap_or_default()
    }
}
