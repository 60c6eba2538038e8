//! The lifecycle of one program as a service: lease, start, register, watch, deregister, stop.
//!
//! A service with a health check that connects is registered once its program listens. That is
//! detected by connecting and by the owner of the listening socket or, for an inherited socket, by
//! the first accept(2) of the program.

mod addresses;
mod background;
mod error;
mod leases;
mod listen_watch;
mod port_spec;
mod registration;
mod spec;
mod start;
mod validate;

use std::io;
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
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use addresses::{Listening, listening_on};
pub use error::StartError;
#[cfg(test)]
pub(crate) use listen_watch::is_in_use;
pub use port_spec::{InvalidNamedPort, NamedPort, PortSpec};
pub use spec::ServiceSpec;
pub use validate::{InvalidService, validate};

use crate::StopSignal;
use crate::child::{Child, ListenerOwner, ProcessTree};
use crate::handoff::{HandoffMode, Helpers};
use crate::shim::ShimCommand;
use leases::Leases;
use listen_watch::ListenWatch;

/// The maximum number of ports that are tried if foreign processes take them.
const MAX_PORTS: u32 = 3;
/// The time in which a failing program may have failed because its port was taken. A program that
/// does not listen by then is logged.
const STARTUP_WINDOW: Duration = Duration::from_secs(10);
/// The grace period of a program that is restarted on another port.
const RESTART_GRACE: Duration = Duration::from_secs(1);
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
}

/// A running service.
#[derive(Debug)]
pub struct Service {
    spec: Arc<ServiceSpec>,
    deps: ServiceDeps,
    allocator: Option<PortAllocator>,
    leases: Option<Leases>,
    child: Child,
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
        let (leases, child) = start::program(&spec, &deps, leases)?;
        let mut service = Self {
            spec,
            deps,
            allocator,
            leases,
            child,
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

    /// Returns a token that ends the grace period of [`Service::stop`] when it is cancelled.
    pub fn skip_grace(&self) -> CancellationToken {
        self.child.skip_grace()
    }

    /// Publishes that the service is about to stop, waits until callers have left, deregisters it, then stops its program, all
    /// within the grace period.
    pub async fn stop(self, grace: Duration) -> io::Result<ExitStatus> {
        let signal = self.spec.stop_signal();
        self.stop_by(signal, grace).await
    }

    /// Does the same with this signal.
    pub async fn stop_by(mut self, signal: StopSignal, grace: Duration) -> io::Result<ExitStatus> {
        let began = Instant::now();
        self.drain(grace).await;
        self.deregister().await;
        let ended = self.child.stop(signal, grace.saturating_sub(began.elapsed())).await;
        self.report_kill(&ended, began.elapsed());
        // A daemonised descendant may still use the port, so it keeps the lease.
        if let Some(leases) = self.leases.take() {
            leases.leave_to_children();
        }
        ended
    }

    /// A program that is killed may have lost data.
    fn report_kill(&self, ended: &io::Result<ExitStatus>, after: Duration) {
        use std::os::unix::process::ExitStatusExt as _;
        let is_killed = ended.as_ref().is_ok_and(|status| status.signal() == Some(9));
        if is_killed && self.spec.stop_signal() != StopSignal::KILL {
            warn!(
                service_name = %self.spec.name, ?after,
                remedy = "give it more time with `grace`, or another `stop_signal`",
                "Program did not end in time and was killed"
            );
        }
    }

    /// Waits until callers have chosen other instances, if anything has told them of this one.
    async fn drain(&self, grace: Duration) {
        let (pause, hurry) = (self.spec.drain.min(grace), self.child.skip_grace());
        let drain = async {
            if let Some(agent) = &self.agent
                && agent.drain().await
            {
                sleep(pause).await;
            }
        };
        if !pause.is_zero() {
            hurry.run_until_cancelled(drain).await;
        }
    }

    /// Deregisters a service whose program has exited. Descendants that are left may still use the
    /// port and keep the lease.
    pub async fn finish(mut self) {
        self.deregister().await;
        if let Some(leases) = self.leases.take() {
            leases.leave_to_children();
        }
    }

    /// Does the same, but stops the remaining processes of the program's group within the grace
    /// period. A daemonised descendant survives and keeps the lease.
    pub async fn finish_group(mut self, grace: Duration) {
        self.deregister().await;
        if let Err(error) = self.child.stop(self.spec.stop_signal(), grace).await {
            warn!(service_name = %self.spec.name, %error, "Could not stop the processes that the program left behind");
        }
        self.finish().await;
    }

    /// Returns the processes that may listen for the service; `None` if the program exited at once.
    fn process_tree(&self) -> Option<ProcessTree> {
        let helpers = Helpers::for_command(&self.spec.command, self.spec.handoff_mode());
        self.child.process_tree().map(|process_tree| process_tree.with(helpers))
    }

    /// Returns whether the program failed because a port was not available: a foreign process
    /// listens on it, or connections of an earlier listener are in TIME-WAIT.
    async fn port_was_taken(&self, status: ExitStatus) -> bool {
        let (Some(leases), Some(process_tree)) = (&self.leases, self.process_tree()) else {
            return false;
        };
        let early = !status.success() && self.started.elapsed() < STARTUP_WINDOW;
        let may_be = self.spec.handoff_mode().may_lose_port() && !self.has_listened();
        if !early || !may_be || self.ports_tried >= MAX_PORTS {
            return false;
        }
        for port in leases.ports().into_iter().filter(|port| listen_watch::is_in_use(*port)) {
            let address = self.spec.host.with_port(port);
            if process_tree.listener_on(&address, port).await != ListenerOwner::Own {
                return true;
            }
        }
        false
    }

    /// A program that fails to bind beside a guard reports only EADDRINUSE, which does not name the
    /// guard.
    fn hint_at_guard(&self, status: ExitStatus) {
        let early = !status.success() && self.started.elapsed() < STARTUP_WINDOW;
        if early && self.watch.is_some() && self.spec.handoff_mode() == HandoffMode::Guard {
            let name = &self.spec.name;
            warn!(
                service_name = %name,
                port = self.port(),
                remedy = "if the program cannot bind its port, choose the hand-off `number`",
                "Program failed while a guard held its port"
            );
        }
    }

    async fn leave_port(&mut self, port: u16, by: &ForeignListener) -> Result<(), StartError> {
        warn!(service_name = %self.spec.name, port, %by, "Foreign process listens on the port, the service is not announced there");
        let ended = self.child.stop(self.spec.stop_signal(), RESTART_GRACE).await;
        ended.map_err(|source| StartError::program(&self.spec.command, source))?;
        if self.ports_tried < MAX_PORTS {
            return self.start_on_next_port().await;
        }
        let (service, process) = (self.spec.name.clone(), by.to_string());
        Err(StartError::PortTaken { service, port, process })
    }

    async fn start_on_next_port(&mut self) -> Result<(), StartError> {
        let taken = self.port();
        self.deregister().await;
        drop(self.leases.take());
        let leases = start::lease_ports(&self.spec, &self.deps, self.allocator.as_ref())?;
        warn!(
            service_name = %self.spec.name,
            preferred_port = taken,
            allocated_port = leases.as_ref().map(Leases::port),
            "Foreign process took the port, starting the program again on the next one"
        );
        (self.leases, self.child) = start::program(&self.spec, &self.deps, leases)?;
        self.started = Instant::now();
        self.ports_tried += 1;
        self.watch_or_register().await
    }
}

#[cfg(test)]
mod tests;
