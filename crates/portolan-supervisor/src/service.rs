//! The life of one program as a service: lease, start, register, watch, deregister, end.

mod spec;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use portolan_agent::{Agent, AgentError};
use portolan_broadcast::Broadcaster;
use portolan_client::RegistryClient;
use portolan_core::{ServiceEndpoint, ServiceName};
use portolan_health::HealthConfig;
use portolan_metrics::Metrics;
use portolan_port_allocator::{
    AllocatorError, PortAllocator, PortAllocatorConfig, PortLease, Process,
};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use spec::{PortSpec, ServiceSpec};

use crate::CommandLine;
use crate::child::{Child, Listener};

/// How often another port is tried where strangers were faster.
const PORTS_TO_TRY: u32 = 3;
/// A program that fails later than this did not fail because its port was taken; and one that does
/// not listen by then is worth a word.
const START: Duration = Duration::from_secs(10);
/// How soon, and then how often, it is looked whether a program listens: a server needs some tens
/// of milliseconds to start, and one that needs long is not found much later for it.
const FIRST_LOOK: Duration = Duration::from_millis(5);
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How long a program has to end by itself before it is started on another port.
const MOVE: Duration = Duration::from_secs(1);

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

/// What happened to a service that runs.
#[derive(Debug)]
pub enum Turn {
    /// Its program has ended.
    Ended(ExitStatus),
    /// Its program listens on its port.
    Listens,
    /// A stranger listens on its port.
    Stolen(Process),
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
    /// Strangers were faster on every port that was tried.
    #[error(
        "{stranger} listens on port {port}, which {service} was to have; end it, or choose another port with --preferred"
    )]
    Stolen {
        /// The service.
        service: ServiceName,
        /// The last port that was tried.
        port: u16,
        /// Who has it.
        stranger: String,
    },
    /// It could not be made findable.
    #[error(transparent)]
    Agent(#[from] AgentError),
}

// === impl Service ===

impl Service {
    /// Leases a port and starts the program on it. It becomes findable once it listens, which is
    /// when [`Service::wait`] tells; at once where its check would not notice that it does not.
    pub async fn start(spec: ServiceSpec, parts: Parts) -> Result<Self, StartError> {
        let spec = Arc::new(spec);
        let allocator = match spec.port {
            Some(_) => Some(open_allocator(&parts)?),
            None => None,
        };
        let lease = lease_port(&spec, &parts, allocator.as_ref())?;
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
        if !service.is_to_listen() {
            service.register().await?;
        }
        Ok(service)
    }

    /// Its port; none where it listens nowhere.
    pub fn port(&self) -> Option<u16> {
        self.lease.as_ref().map(PortLease::port)
    }

    /// The endpoint that others find; none where it does not listen, or not yet.
    pub fn endpoint(&self) -> Option<ServiceEndpoint> {
        self.agent.as_ref().map(Agent::endpoint)
    }

    /// The agent that keeps it findable; none where it does not listen, or not yet.
    pub fn agent(&self) -> Option<&Agent> {
        self.agent.as_ref()
    }

    /// The program itself.
    pub fn child_mut(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Waits for what happens next, which [`Service::take`] then deals with. Safe to cancel and
    /// call again.
    pub async fn wait(&mut self) -> Result<Turn, StartError> {
        let (listener, program) = (self.first_listener(), &self.spec.command);
        let ended = self.child.wait();
        let turn = tokio::select! {
            ended = ended => ended.map(Turn::Ended),
            turn = listener => Ok(turn),
        };
        turn.map_err(|source| program_error(program, source))
    }

    /// Deals with what [`Service::wait`] told. A program that listens becomes findable. One whose
    /// port a stranger took before it is started again on the next one. Else this is the status
    /// that the service ends with. Not to be cancelled: the program would run unseen.
    pub async fn take(
        &mut self,
        turn: Result<Turn, StartError>,
    ) -> Result<Option<ExitStatus>, StartError> {
        match turn? {
            Turn::Listens => self.register().await?,
            Turn::Stolen(stranger) => self.move_away_from(&stranger).await?,
            Turn::Ended(status) if self.port_was_taken(status).await => {
                self.start_on_next_port().await?;
            }
            Turn::Ended(status) => return Ok(Some(status)),
        }
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

    /// Whether the program becomes findable only once it listens: a check that connects tells
    /// nothing about a program in whose place somebody else answers.
    fn is_found_by_listening(&self) -> bool {
        let (Some(port), Some(check)) = (self.port(), &self.spec.check) else { return false };
        check.health_url(&self.spec.host, port).is_some()
    }

    fn is_to_listen(&self) -> bool {
        self.is_found_by_listening() && self.agent.is_none()
    }

    /// Whether the program has had its port: then it does not fail for want of it.
    fn has_listened(&self) -> bool {
        self.is_found_by_listening() && self.agent.is_some()
    }

    /// Who listens first, the program or a stranger; never, where nobody waits for that.
    fn first_listener(&self) -> impl Future<Output = Turn> + use<> {
        let port = self.port().filter(|_| self.is_to_listen());
        let address = port.map(|port| self.spec.host.with_port(port));
        let (family, name) = (self.child.family(), self.spec.name.clone());
        let overdue = self.started + START;
        async move {
            let (Some(port), Some(address), Some(family)) = (port, address, family) else {
                return std::future::pending().await;
            };
            let (mut pause, mut told) = (FIRST_LOOK, overdue < Instant::now());
            loop {
                match family.listener_on(&address, port).await {
                    Listener::Own => return Turn::Listens,
                    Listener::Stranger(stranger) => return Turn::Stolen(stranger),
                    Listener::Nobody => sleep(pause).await,
                }
                pause = (pause * 2).min(LOOK_AGAIN);
                if !told && Instant::now() > overdue {
                    told = true;
                    warn!(service_name = %name, port, "Nothing listens on the port yet, the service can be found when it does");
                }
            }
        }
    }

    /// Whether a program that has ended failed because its port was not free for it: somebody
    /// listens there, or connections of an earlier listener are still closing.
    async fn port_was_taken(&self, status: ExitStatus) -> bool {
        let (Some(port), Some(family)) = (self.port(), self.child.family()) else { return false };
        let early = !status.success() && self.started.elapsed() < START;
        if !early || self.ports_tried >= PORTS_TO_TRY || self.holds_guard() || self.has_listened() {
            return false;
        }
        let address = self.spec.host.with_port(port);
        is_in_use(port) && family.listener_on(&address, port).await != Listener::Own
    }

    fn holds_guard(&self) -> bool {
        self.spec.guard.holds_for(&self.spec.command)
    }

    async fn move_away_from(&mut self, stranger: &Process) -> Result<(), StartError> {
        let ended = self.child.stop(MOVE).await;
        ended.map_err(|source| program_error(&self.spec.command, source))?;
        if self.ports_tried < PORTS_TO_TRY {
            return self.start_on_next_port().await;
        }
        let (service, stranger) = (self.spec.name.clone(), stranger.to_string());
        Err(StartError::Stolen { service, port: self.port().unwrap_or_default(), stranger })
    }

    async fn start_on_next_port(&mut self) -> Result<(), StartError> {
        let stolen = self.lease.as_ref().map(PortLease::port);
        self.deregister().await;
        drop(self.lease.take());
        let lease = lease_port(&self.spec, &self.parts, self.allocator.as_ref())?;
        warn!(
            service_name = %self.spec.name,
            preferred_port = stolen,
            allocated_port = lease.as_ref().map(PortLease::port),
            "A stranger took the port before the program did, starting it again on the next one"
        );
        (self.lease, self.child) = start_program(&self.spec, lease)?;
        self.started = Instant::now();
        self.ports_tried += 1;
        match self.is_to_listen() {
            true => Ok(()),
            false => self.register().await,
        }
    }
}

fn program_error(command: &CommandLine, source: io::Error) -> StartError {
    StartError::Program { program: command.program().to_owned(), source }
}

fn open_allocator(parts: &Parts) -> Result<PortAllocator, AllocatorError> {
    let allocator = PortAllocator::new(parts.allocator.clone())?;
    Ok(allocator.with_metrics(parts.metrics.clone()))
}

fn lease_port(
    spec: &ServiceSpec,
    parts: &Parts,
    allocator: Option<&PortAllocator>,
) -> Result<Option<PortLease>, AllocatorError> {
    let (Some(port), Some(allocator)) = (&spec.port, allocator) else { return Ok(None) };
    allocator.request(spec.port_request(port, &parts.allocator)).map(Some)
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
    let child = child.map_err(|source| program_error(&spec.command, source))?;
    info!(
        service_name = %spec.name,
        port = lease.as_ref().map(PortLease::port),
        pid = child.pid(),
        "Program started"
    );
    Ok((lease, child))
}

/// Whether a program that binds the port without more ado is refused it. The system is asked by
/// trying: what other users have, it does not show.
fn is_in_use(port: u16) -> bool {
    let everywhere = [IpAddr::from(Ipv6Addr::UNSPECIFIED), IpAddr::from(Ipv4Addr::UNSPECIFIED)];
    everywhere.into_iter().any(|address| binds_plainly(address, port).is_err())
}

fn binds_plainly(address: IpAddr, port: u16) -> rustix::io::Result<()> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    // A system without IPv6 has nothing in use there.
    let Ok(socket) = rustix::net::socket(family, SocketType::STREAM, None) else { return Ok(()) };
    match rustix::net::bind(&socket, &SocketAddr::new(address, port)) {
        Err(Errno::ADDRINUSE) => Err(Errno::ADDRINUSE),
        _ => Ok(()),
    }
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
