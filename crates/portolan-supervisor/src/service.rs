//! The life of one program as a service: lease, start, register, watch, deregister, end.

mod spec;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use portolan_agent::{Agent, AgentError};
use portolan_broadcast::Broadcaster;
use portolan_client::RegistryClient;
use portolan_core::ServiceEndpoint;
use portolan_health::HealthConfig;
use portolan_metrics::Metrics;
use portolan_port_allocator::{AllocatorError, PortAllocator, PortAllocatorConfig, PortLease};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use spec::{PortSpec, ServiceSpec};

use crate::child::Child;

/// How often another port is tried where strangers were faster.
const PORTS_TO_TRY: u32 = 3;
/// A program that fails later than this did not fail because its port was taken.
const START: Duration = Duration::from_secs(10);

/// What services of one process share.
#[derive(Debug, Clone)]
pub struct Parts {
    /// How ports are allocated. Each service gets an allocator of its own, so that its program
    /// inherits its own lease and nobody else's.
    pub allocator: PortAllocatorConfig,
    /// How health is checked.
    pub health: HealthConfig,
    /// Where it is all counted.
    pub metrics: Metrics,
    /// The registry to register with, where there is one.
    pub registry: Option<RegistryClient>,
    /// The channel to announce on, where there is one.
    pub broadcaster: Option<Broadcaster>,
}

/// A service that runs.
#[derive(Debug)]
pub struct Service {
    spec: Arc<ServiceSpec>,
    parts: Parts,
    allocator: Option<PortAllocator>,
    lease: Option<PortLease>,
    child: Child,
    agent: Option<Agent>,
    started: Instant,
    ports_tried: u32,
}

/// Why a service did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// It got no port.
    #[error(transparent)]
    Port(#[from] AllocatorError),
    /// The program did not start.
    #[error("cannot start `{program}`: {source}{}", hint(source))]
    Program {
        /// The program, as it is looked for.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// It could not be made findable.
    #[error(transparent)]
    Agent(#[from] AgentError),
}

// === impl Service ===

impl Service {
    /// Leases a port, starts the program on it, and makes it findable.
    pub async fn start(spec: ServiceSpec, parts: Parts) -> Result<Self, StartError> {
        let spec = Arc::new(spec);
        let allocator = match spec.port {
            Some(_) => Some(open_allocator(&parts)?),
            None => None,
        };
        let lease = lease_port(&spec, allocator.as_ref())?;
        let (lease, child) = start_program(&spec, lease)?;
        let mut service = Self {
            spec,
            parts,
            allocator,
            lease,
            child,
            agent: None,
            started: Instant::now(),
            ports_tried: 1,
        };
        service.register().await?;
        Ok(service)
    }

    /// The endpoint that others find; none where it listens nowhere.
    pub fn endpoint(&self) -> Option<ServiceEndpoint> {
        self.agent.as_ref().map(Agent::endpoint)
    }

    /// The agent that keeps it findable; none where it listens nowhere.
    pub fn agent(&self) -> Option<&Agent> {
        self.agent.as_ref()
    }

    /// The program itself.
    pub fn child_mut(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Waits for the program's end, which [`Service::start_again`] may turn into another start.
    /// Safe to cancel and call again.
    pub async fn wait(&mut self) -> Result<ExitStatus, StartError> {
        self.child.wait().await.map_err(|source| self.program_error(source))
    }

    /// Takes what [`Service::wait`] told. Where the program failed at its start because a stranger
    /// had taken its port, it is started again on the next one; else this is the status that the
    /// service ends with. Not to be cancelled: the program would run unseen.
    pub async fn start_again(
        &mut self,
        ended: Result<ExitStatus, StartError>,
    ) -> Result<Option<ExitStatus>, StartError> {
        let status = ended?;
        if !self.port_was_stolen(status) {
            return Ok(Some(status));
        }
        self.start_on_next_port().await?;
        Ok(None)
    }

    /// Cancelled by whoever will not wait for the grace of [`Service::stop`] any longer.
    pub fn hurry(&self) -> CancellationToken {
        self.child.hurry()
    }

    /// Takes the service down: deregisters it first, then asks the program to end, and ends it
    /// where it is still there after the grace. The grace is for both.
    pub async fn stop(mut self, grace: Duration) -> io::Result<ExitStatus> {
        let began = Instant::now();
        self.deregister().await;
        self.child.stop(grace.saturating_sub(began.elapsed())).await
    }

    /// Takes down what is left of a service whose program has ended by itself. What the program
    /// started and left behind may use the port still, and then it keeps the lease.
    pub async fn finish(mut self) {
        self.deregister().await;
        if let Some(lease) = self.lease.take() {
            lease.leave_to_children();
        }
    }

    /// The same, but ends what the program left behind, in its group, after the grace. What has
    /// left the group as well, as a daemon does, lives on and keeps the lease.
    pub async fn finish_group(mut self, grace: Duration) {
        self.deregister().await;
        if let Err(error) = self.child.stop(grace).await {
            warn!(service_name = %self.spec.name, %error, "What a program left behind may live on");
        }
        self.finish().await;
    }

    async fn register(&mut self) -> Result<(), StartError> {
        let Some(lease) = &self.lease else { return Ok(()) };
        let Parts { registry, broadcaster, health, metrics, .. } = self.parts.clone();
        let agent = Agent::builder(self.spec.registration(lease.port()))
            .registry(registry)
            .broadcaster(broadcaster)
            .check(self.spec.check.clone())
            .health(health)
            .metrics(metrics)
            .start()
            .await;
        match agent {
            Ok(agent) => {
                self.agent = Some(agent);
                Ok(())
            }
            Err(error) => {
                // Nobody would find it, so it must not run on unseen.
                _ = self.child.stop(Duration::from_secs(1)).await;
                Err(error.into())
            }
        }
    }

    async fn deregister(&mut self) {
        if let Some(agent) = self.agent.take() {
            agent.stop().await;
        }
    }

    fn port_was_stolen(&self, status: ExitStatus) -> bool {
        let Some(lease) = &self.lease else { return false };
        !status.success()
            && self.started.elapsed() < START
            && self.ports_tried < PORTS_TO_TRY
            && !self.spec.guard.holds_for(&self.spec.command)
            && is_listened_on(lease.port())
            && !self.child.started_listener_on(lease.port())
    }

    async fn start_on_next_port(&mut self) -> Result<(), StartError> {
        let stolen = self.lease.as_ref().map(PortLease::port);
        self.deregister().await;
        drop(self.lease.take());
        let lease = lease_port(&self.spec, self.allocator.as_ref())?;
        warn!(
            service_name = %self.spec.name,
            preferred_port = stolen,
            allocated_port = lease.as_ref().map(PortLease::port),
            "A stranger took the port before the program did, starting it again on the next one"
        );
        (self.lease, self.child) = start_program(&self.spec, lease)?;
        self.started = Instant::now();
        self.ports_tried += 1;
        self.register().await
    }

    fn program_error(&self, source: io::Error) -> StartError {
        StartError::Program { program: self.spec.command.program().to_owned(), source }
    }
}

fn open_allocator(parts: &Parts) -> Result<PortAllocator, AllocatorError> {
    let allocator = PortAllocator::new(parts.allocator.clone())?;
    Ok(allocator.with_metrics(parts.metrics.clone()))
}

fn lease_port(
    spec: &ServiceSpec,
    allocator: Option<&PortAllocator>,
) -> Result<Option<PortLease>, AllocatorError> {
    let (Some(port), Some(allocator)) = (&spec.port, allocator) else { return Ok(None) };
    allocator.request(spec.port_request(port)).map(Some)
}

fn start_program(
    spec: &ServiceSpec,
    mut lease: Option<PortLease>,
) -> Result<(Option<PortLease>, Child), StartError> {
    if let Some(lease) = lease.as_mut().filter(|_| !spec.guard.holds_for(&spec.command)) {
        lease.let_go_of_guard();
    }
    let inherited = lease.as_ref().map(PortLease::inherited_fds).unwrap_or_default();
    let child = spec.launch(lease.as_ref().map(PortLease::port)).start(&inherited);
    drop(inherited);
    let program = spec.command.program().to_owned();
    let child = child.map_err(|source| StartError::Program { program, source })?;
    info!(
        service_name = %spec.name,
        port = lease.as_ref().map(PortLease::port),
        pid = child.pid(),
        "Program started"
    );
    Ok((lease, child))
}

/// Whether anybody listens on the port, on whatever address. The other users' sockets are seen by
/// nobody but root, so it is the system that is asked, by trying.
fn is_listened_on(port: u16) -> bool {
    let everywhere = [IpAddr::from(Ipv6Addr::UNSPECIFIED), IpAddr::from(Ipv4Addr::UNSPECIFIED)];
    everywhere.into_iter().any(|address| {
        TcpListener::bind((address, port))
            .is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    })
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; is it installed, and in PATH?",
        io::ErrorKind::PermissionDenied => "; is it executable?",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
