//! The life of one program as a service: lease, start, register, watch, deregister, end.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use portolan_agent::{Agent, AgentError};
use portolan_broadcast::Broadcaster;
use portolan_client::RegistryClient;
use portolan_core::{Host, Pool, Protocol, Registration, Scope, ServiceEndpoint, ServiceName, Ttl};
use portolan_health::{CheckSpec, HealthConfig};
use portolan_metrics::Metrics;
use portolan_port_allocator::{
    AllocatorError, Depth, PortAllocator, PortAllocatorConfig, PortLease, PortRequest,
};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::child::{Child, Launch, Terminal};
use crate::command::fill_port;
use crate::{CommandLine, GuardPolicy};

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
    /// Whether any port will do in the end; as configured where nothing is said.
    pub allow_ephemeral: Option<bool>,
    /// The folder that, with the service's name, remembers its last port.
    pub folder: Option<PathBuf>,
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

    /// Waits for the program's end. Where it failed at its start because a stranger had taken its
    /// port, it is started again on the next one. Safe to cancel and call again.
    pub async fn wait(&mut self) -> Result<ExitStatus, StartError> {
        loop {
            let status = self.child.wait().await.map_err(|source| self.program_error(source))?;
            match self.port_was_stolen(status) {
                true => self.start_on_next_port().await?,
                false => return Ok(status),
            }
        }
    }

    /// Takes the service down: deregisters it first, then asks the program to end, and ends it
    /// where it is still there after the grace.
    pub async fn stop(mut self, grace: Duration) -> io::Result<ExitStatus> {
        self.deregister().await;
        self.child.stop(grace).await
    }

    /// Takes down what is left of a service whose program has ended by itself. What the program
    /// started and left behind may use the port still, and then it keeps the lease.
    pub async fn finish(mut self) {
        self.deregister().await;
        if let Some(lease) = self.lease.take() {
            lease.leave_to_children();
        }
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
            && portolan_port_allocator::listener_pid(lease.port()).is_some()
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

// === impl ServiceSpec ===

impl ServiceSpec {
    fn port_request(&self, port: &PortSpec) -> PortRequest {
        let mut request =
            PortRequest::new(self.name.clone()).scope(self.scope.clone()).depth(Depth::Guarded);
        if let Some(preferred) = port.preferred {
            request = request.preferred(preferred);
        }
        if let Some(pool) = &port.pool {
            request = request.pool(pool);
        }
        if let Some(allowed) = port.allow_ephemeral {
            request = request.allow_ephemeral(allowed);
        }
        match &port.folder {
            Some(folder) => request.folder(folder.clone()),
            None => request,
        }
    }

    fn launch(&self, port: Option<u16>) -> Launch {
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

    fn registration(&self, port: u16) -> Registration {
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

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; is it installed, and in PATH?",
        io::ErrorKind::PermissionDenied => "; is it executable?",
        _ => "",
    }
}
