//! The lifecycle of one program as a service: lease, start, register, watch, deregister, stop.
//!
//! A service with a health check that connects is registered once its program listens. That is
//! detected by connecting and by the owner of the listening socket or, for an inherited socket, by
//! the first accept(2) of the program.

mod addresses;
mod background;
mod end;
mod error;
mod leases;
mod listen_watch;
mod lost_port;
mod port_spec;
mod registration;
mod spec;
mod start;
mod stop_command;
mod validate;

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use portolan_agent::Agent;
use portolan_broadcast::Broadcaster;
use portolan_client::RegistryClient;
use portolan_core::{PortName, ServiceEndpoint};
use portolan_health::HealthConfig;
use portolan_host_facts::ForeignListener;
use portolan_metrics::Metrics;
use portolan_port_allocator::{PortAllocator, PortAllocatorConfig};
use tokio::time::Instant;

pub use addresses::{Listening, listening_on};
pub use error::StartError;
#[cfg(test)]
pub(crate) use listen_watch::is_in_use;
pub use port_spec::{InvalidNamedPort, NamedPort, PortSpec};
pub use spec::ServiceSpec;
pub use validate::{InvalidService, validate};

use crate::child::{Child, Launch, ProcessTree};
use crate::handoff::Helpers;
use crate::leftovers::OwnerRecord;
use crate::shim::ShimCommand;
use leases::Leases;
use listen_watch::ListenWatch;
use start::Started;

/// The time in which a failing program may have failed because its port was taken. A program that
/// does not listen by then is logged.
const STARTUP_WINDOW: Duration = Duration::from_secs(10);
/// How long a program still runs after its registry has said that it is about to stop, if nothing else is configured: a watcher
/// learns it within a few milliseconds.
pub const DRAIN: Duration = Duration::from_millis(50);

/// The dependencies that the services of a process share.
#[derive(Debug, Clone)]
pub struct ServiceDeps {
    /// The settings of the port allocator. Each service has its own allocator, so that its program
    /// inherits only its own leases.
    pub allocator: PortAllocatorConfig,
    /// The settings of health checks.
    pub health: HealthConfig,
    /// The metrics registry.
    pub metrics: Metrics,
    /// The registry in which the service is registered.
    pub registry: Option<RegistryClient>,
    /// The broadcast channel on which the service is announced.
    pub broadcaster: Option<Broadcaster>,
    /// What starts programs and ends whatever they leave behind; `None` starts them directly, so that they go on if this process
    /// is killed.
    pub shim: Option<ShimCommand>,
    /// The record of this process, by which its programs are found if it is killed.
    pub record: Option<OwnerRecord>,
}

/// A running service.
#[derive(Debug)]
pub struct Service {
    spec: Arc<ServiceSpec>,
    deps: ServiceDeps,
    allocator: Option<PortAllocator>,
    leases: Option<Leases>,
    child: Child,
    stop_command: Option<Launch>,
    agent: Option<Agent>,
    watch: Option<ListenWatch>,
    started: Instant,
    ports_tried: u32,
}

/// An event of a running service.
#[derive(Debug)]
pub enum ProgramEvent {
    /// The program has exited.
    Exited(ExitStatus),
    /// The program listens on its port.
    Listening,
    /// The program has not listened on its port for a while, and its health check does not need it.
    NotListening,
    /// A foreign process listens on a port of the service.
    PortTaken {
        /// The port.
        port: u16,
        /// The foreign process, or its user.
        by: ForeignListener,
    },
}

// === impl Service ===

impl Service {
    /// Leases the ports and starts the program. A service whose health check connects is registered
    /// when [`Service::wait`] reports that it listens, any other service at once.
    pub async fn start(spec: ServiceSpec, deps: ServiceDeps) -> Result<Self, StartError> {
        let spec = Arc::new(spec);
        let allocator = match spec.port {
            Some(_) => Some(start::open_allocator(&deps)?),
            None => None,
        };
        let leases = start::lease_ports(&spec, &deps, allocator.as_ref())?;
        let Started { leases, child, stop_command } = start::program(&spec, &deps, leases).await?;
        let mut service = Self {
            spec,
            deps,
            allocator,
            leases,
            child,
            stop_command,
            agent: None,
            watch: None,
            started: Instant::now(),
            ports_tried: 1,
        };
        service.watch_or_register().await?;
        Ok(service)
    }

    /// Returns the main port; `None` if the service has no port.
    pub fn port(&self) -> Option<u16> {
        self.leases.as_ref().map(Leases::port)
    }

    /// Returns the named ports.
    pub fn named_ports(&self) -> Vec<(PortName, u16)> {
        let named = self.leases.iter().flat_map(Leases::named);
        named.map(|(name, port)| (name.clone(), port)).collect()
    }

    /// Returns the registered endpoint; `None` if the service is not registered.
    pub fn endpoint(&self) -> Option<ServiceEndpoint> {
        self.agent.as_ref().map(Agent::endpoint)
    }

    /// Returns the agent of the registration; `None` if the service is not registered.
    pub fn agent(&self) -> Option<&Agent> {
        self.agent.as_ref()
    }

    /// Returns whether the service waits for its program to listen before it is registered.
    pub fn is_awaited(&self) -> bool {
        self.watch.is_some() && self.agent.is_none()
    }

    /// Returns the TCP ports on which the program listens although they are not those of the service.
    pub fn other_ports(&self) -> Vec<u16> {
        let own: Vec<u16> = self.leases.iter().flat_map(Leases::ports).collect();
        self.process_tree().map(|tree| tree.ports_beside(&own)).unwrap_or_default()
    }

    /// Returns the process.
    pub fn child(&self) -> &Child {
        &self.child
    }

    /// Returns the process.
    pub fn child_mut(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Waits for the next event, which must be passed to [`Service::handle`]. Cancel-safe.
    pub async fn wait(&mut self) -> Result<ProgramEvent, StartError> {
        let event = match &mut self.watch {
            Some(watch) => tokio::select! {
                ended = self.child.wait() => ended.map(ProgramEvent::Exited),
                event = watch.first_listener() => Ok(event),
            },
            None => self.child.wait().await.map(ProgramEvent::Exited),
        };
        event.map_err(|source| StartError::program(&self.spec.command, source))
    }

    /// Handles the result of [`Service::wait`]: registers a program that listens, and restarts a
    /// program whose port was taken on the next port. Returns the exit status once the service has
    /// ended. Not cancel-safe: the program would run unsupervised.
    pub async fn handle(
        &mut self,
        event: Result<ProgramEvent, StartError>,
    ) -> Result<Option<ExitStatus>, StartError> {
        match event? {
            ProgramEvent::Listening if self.agent.is_some() => self.follow_late_listener().await?,
            ProgramEvent::Listening => self.register().await?,
            ProgramEvent::NotListening => self.register_before_listening().await?,
            ProgramEvent::PortTaken { port, by } => self.leave_port(port, &by).await?,
            ProgramEvent::Exited(status) if self.port_was_taken(status).await => {
                self.start_on_next_port().await?;
            }
            ProgramEvent::Exited(status) => {
                self.hint_at_guard(status);
                self.report_background(status);
                return Ok(Some(status));
            }
        }
        Ok(None)
    }

    /// Returns the processes that may listen for the service; `None` if the program exited at once.
    fn process_tree(&self) -> Option<ProcessTree> {
        let helpers = Helpers::for_command(&self.spec.command, self.spec.handoff_mode());
        self.child.process_tree().map(|process_tree| process_tree.with(helpers))
    }
}

#[cfg(test)]
mod tests;
