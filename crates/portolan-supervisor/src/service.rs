//! The life of one program as a service: lease, start, register, watch, deregister, end.
//!
//! A service with a check that connects becomes findable once its program listens, which is told by
//! connecting, and by who owns the socket. Where the program inherits the socket, which listens
//! before it, it is told by the program's first accept(2).

mod check;
mod error;
mod leases;
mod ports;
mod spec;
mod start;
mod watch;

use std::io;
use std::net::SocketAddr;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use portolan_agent::Agent;
use portolan_broadcast::Broadcaster;
use portolan_client::RegistryClient;
use portolan_core::{PortName, ServiceEndpoint};
use portolan_health::HealthConfig;
use portolan_host_facts::Process;
use portolan_metrics::Metrics;
use portolan_port_allocator::{PortAllocator, PortAllocatorConfig};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use check::{InvalidService, check};
pub use error::StartError;
pub use ports::{InvalidNamedPort, NamedPort, PortSpec};
pub use spec::ServiceSpec;

use crate::child::{Child, Family, Listener};
use crate::handoff::{Helpers, Way};
use leases::Leases;
use watch::{Sign, Watch};

/// How often another port is tried where strangers were faster.
const PORTS_TO_TRY: u32 = 3;
/// A program that fails later than this did not fail because its port was taken; and one that does
/// not listen by then is worth a word.
const START: Duration = Duration::from_secs(10);
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
    leases: Option<Leases>,
    child: Child,
    agent: Option<Agent>,
    watch: Option<Watch>,
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
    /// A stranger listens on a port of it.
    Stolen {
        /// The port.
        port: u16,
        /// Who listens there.
        stranger: Process,
    },
}

// === impl Service ===

impl Service {
    /// Leases a port and starts the program on it. It becomes findable once it listens, which is
    /// when [`Service::wait`] tells; at once where its check would not notice that it does not.
    pub async fn start(spec: ServiceSpec, parts: Parts) -> Result<Self, StartError> {
        let spec = Arc::new(spec);
        let allocator = match spec.port {
            Some(_) => Some(start::open_allocator(&parts)?),
            None => None,
        };
        let leases = start::lease_ports(&spec, &parts, allocator.as_ref())?;
        let (leases, child) = start::program(&spec, leases)?;
        let mut service = Self {
            spec,
            parts,
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

    /// Its port; none where it listens nowhere.
    pub fn port(&self) -> Option<u16> {
        self.leases.as_ref().map(Leases::port)
    }

    /// Its further ports, under their names.
    pub fn named_ports(&self) -> Vec<(PortName, u16)> {
        let named = self.leases.iter().flat_map(Leases::named);
        named.map(|(name, port)| (name.clone(), port)).collect()
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
        let turn = match &mut self.watch {
            Some(watch) => tokio::select! {
                ended = self.child.wait() => ended.map(Turn::Ended),
                turn = watch.first_listener() => Ok(turn),
            },
            None => self.child.wait().await.map(Turn::Ended),
        };
        turn.map_err(|source| StartError::of_program(&self.spec.command, source))
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
            Turn::Stolen { port, stranger } => self.move_away_from(port, &stranger).await?,
            Turn::Ended(status) if self.port_was_taken(status).await => {
                self.start_on_next_port().await?;
            }
            Turn::Ended(status) => {
                self.hint_at_guard(status);
                return Ok(Some(status));
            }
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
        let ended = self.child.stop(grace.saturating_sub(began.elapsed())).await;
        // What escaped the signals, as a daemon does, may use the port still, and keeps the lease.
        if let Some(leases) = self.leases.take() {
            leases.leave_to_children();
        }
        ended
    }

    /// Takes down what is left of a service whose program has ended by itself. What the program
    /// started and left behind may use the port still, and then it keeps the lease.
    pub async fn finish(mut self) {
        self.deregister().await;
        if let Some(leases) = self.leases.take() {
            leases.leave_to_children();
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

    async fn watch_or_register(&mut self) -> Result<(), StartError> {
        match self.is_found_by_listening() {
            true => self.watch(),
            false => self.register().await?,
        }
        Ok(())
    }

    async fn register(&mut self) -> Result<(), StartError> {
        self.watch = None;
        let Some(leases) = &self.leases else { return Ok(()) };
        let Parts { allocator, registry, broadcaster, health, metrics } = self.parts.clone();
        let agent = Agent::builder(self.spec.registration(leases, &allocator.pools()))
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

    /// Whether the program has had its port: then it does not fail for want of it.
    fn has_listened(&self) -> bool {
        self.is_found_by_listening() && self.agent.is_some()
    }

    /// Whoever listens first is looked for from now on.
    fn watch(&mut self) {
        let Some((leases, port)) = self.leases.as_ref().zip(self.spec.port.as_ref()) else {
            return;
        };
        let Some(family) = self.family() else { return };
        let main = leases.port();
        let sign = match self.spec.way() {
            Way::Socket => Sign::Accepts(SocketAddr::new(ports::reached_at(port.bind), main), None),
            _ => Sign::Connects(self.spec.host.with_port(main)),
        };
        let (service, ports) = (self.spec.name.clone(), leases.ports());
        let overdue = Some(self.started + START);
        self.watch = Some(Watch { service, family, ports, sign, overdue });
    }

    /// The processes that may listen for it; none where its program was gone at once.
    fn family(&self) -> Option<Family> {
        let helpers = Helpers::of(&self.spec.command, self.spec.way());
        self.child.family().map(|family| family.with(helpers))
    }

    /// Whether a program that has ended failed because a port was not free for it: somebody listens
    /// there, or connections of an earlier listener are still closing.
    async fn port_was_taken(&self, status: ExitStatus) -> bool {
        let (Some(leases), Some(family)) = (&self.leases, self.family()) else { return false };
        let early = !status.success() && self.started.elapsed() < START;
        let may_be = self.spec.way().may_lose_port() && !self.has_listened();
        if !early || !may_be || self.ports_tried >= PORTS_TO_TRY {
            return false;
        }
        for port in leases.ports().into_iter().filter(|port| watch::is_in_use(*port)) {
            let address = self.spec.host.with_port(port);
            if family.listener_on(&address, port).await != Listener::Own {
                return true;
            }
        }
        false
    }

    /// A program that is refused its own port says so in its own words, which name no guard.
    fn hint_at_guard(&self, status: ExitStatus) {
        let early = !status.success() && self.started.elapsed() < START;
        if early && self.watch.is_some() && self.spec.way() == Way::Guard {
            let name = &self.spec.name;
            warn!(service_name = %name, port = self.port(), "The program failed while a guard held its port; if it could not bind the port, choose the hand-over `number`");
        }
    }

    async fn move_away_from(&mut self, port: u16, stranger: &Process) -> Result<(), StartError> {
        let ended = self.child.stop(MOVE).await;
        ended.map_err(|source| StartError::of_program(&self.spec.command, source))?;
        if self.ports_tried < PORTS_TO_TRY {
            return self.start_on_next_port().await;
        }
        let (service, stranger) = (self.spec.name.clone(), stranger.to_string());
        Err(StartError::Stolen { service, port, stranger })
    }

    async fn start_on_next_port(&mut self) -> Result<(), StartError> {
        let stolen = self.port();
        self.deregister().await;
        drop(self.leases.take());
        let leases = start::lease_ports(&self.spec, &self.parts, self.allocator.as_ref())?;
        warn!(
            service_name = %self.spec.name,
            preferred_port = stolen,
            allocated_port = leases.as_ref().map(Leases::port),
            "A stranger took the port before the program did, starting it again on the next one"
        );
        (self.leases, self.child) = start::program(&self.spec, leases)?;
        self.started = Instant::now();
        self.ports_tried += 1;
        self.watch_or_register().await
    }
}

#[cfg(test)]
mod tests;
