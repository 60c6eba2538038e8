//! The registration of a service: when, and at which addresses.

use std::net::SocketAddr;
use std::time::Duration;

use portolan_agent::{AdvertisedAddresses, Agent};
use portolan_broadcast::Broadcaster;
use portolan_core::Host;
use portolan_health::{CheckSpec, LocalProgram};
use tracing::warn;

use super::addresses::{Listening, listening_by};
use super::listen_watch::{ListenSignal, ListenWatch};
use super::{STARTUP_WINDOW, Service, ServiceDeps, StartError, port_spec};
use crate::handoff::HandoffMode;

/// How long a service whose check does not connect waits for its program to listen before it is registered: its
/// program may listen on no TCP port at all.
const LISTEN_WINDOW: Duration = Duration::from_secs(1);

impl Service {
    pub(super) async fn watch_or_register(&mut self) -> Result<(), StartError> {
        match self.registers_when_listening() {
            true => self.watch(),
            false => self.register().await?,
        }
        Ok(())
    }

    /// Registers the service at every address of this host, and goes on watching for a listener.
    pub(super) async fn register_before_listening(&mut self) -> Result<(), StartError> {
        let watch = self.watch.take();
        self.register().await?;
        self.watch = watch.map(ListenWatch::without_limit);
        Ok(())
    }

    /// Registers the service again if its program listens on fewer addresses than are registered.
    pub(super) async fn follow_late_listener(&mut self) -> Result<(), StartError> {
        self.watch = None;
        let everywhere = Listening::Everywhere(AdvertisedAddresses::All);
        if self.port().is_none_or(|port| self.listening_on(port) == everywhere) {
            return Ok(());
        }
        self.deregister().await;
        self.register().await
    }

    pub(super) async fn register(&mut self) -> Result<(), StartError> {
        self.watch = None;
        let Some(leases) = &self.leases else { return Ok(()) };
        let ServiceDeps { allocator, mut registry, broadcaster, health, metrics, .. } =
            self.deps.clone();
        let mut registration = self.spec.registration(leases, &allocator.pools());
        let mut advertised = AdvertisedAddresses::Host;
        if self.spec.follow_addresses {
            match self.listening_on(registration.port) {
                Listening::Everywhere(addresses) => advertised = addresses,
                Listening::Address(host) => registration.host = host,
                Listening::Loopback => {
                    // Another host would take a loopback address for its own.
                    registry = registry.filter(|_| self.spec.host.is_loopback());
                    registration.host = Host::loopback();
                    self.warn_of_loopback(registration.port);
                    if registry.is_none() && broadcaster.is_none() && self.deps.registry.is_some() {
                        return Ok(());
                    }
                }
            }
        }
        let agent = Agent::builder(registration)
            .addresses(advertised)
            .registry(registry)
            .broadcaster(broadcaster)
            .check(self.check())
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
                // Without a registration nothing can discover the program, so it must not keep
                // running.
                _ = self.child.stop(self.spec.stop_signal(), Duration::from_secs(1)).await;
                Err(error.into())
            }
        }
    }

    /// Returns the health check, which knows the program.
    fn check(&self) -> Option<CheckSpec> {
        let check = self.spec.check.clone()?;
        Some(match self.child.pid() {
            Some(pid) => {
                let program = LocalProgram::new(pid).directory(self.spec.directory.clone());
                check.of_program(program)
            }
            None => check,
        })
    }

    /// Returns where the program listens: what a foreign process adds meanwhile is not advertised.
    fn listening_on(&self, port: u16) -> Listening {
        let sockets = self.process_tree().map(|process_tree| process_tree.own_sockets(port));
        listening_by(sockets.unwrap_or_default())
    }

    /// Logs that other hosts cannot reach the program, if they would learn of it.
    fn warn_of_loopback(&self, port: u16) {
        let channel = self.deps.broadcaster.as_ref().is_some_and(Broadcaster::reaches_other_hosts);
        if channel || !self.spec.host.is_loopback() {
            warn!(
                service_name = %self.spec.name, port,
                remedy = "let the program listen on 0.0.0.0 or [::], or use --bind loopback to confirm it",
                "Service listens on loopback only, other hosts cannot reach it"
            );
        }
    }

    pub(super) async fn deregister(&mut self) {
        if let Some(agent) = self.agent.take() {
            agent.stop().await;
        }
    }

    /// Returns whether the service is registered only once its program listens, or, if its check does not
    /// connect, at the latest after a while.
    fn registers_when_listening(&self) -> bool {
        self.check_connects() || self.follows_sockets()
    }

    /// Returns whether the advertised addresses follow the sockets of the program. Those of UDP do not show
    /// when it is ready.
    fn follows_sockets(&self) -> bool {
        let port = self.spec.port.as_ref();
        self.spec.follow_addresses && port.is_some_and(|port| !port.udp)
    }

    /// Returns whether the health check connects. Such a check cannot tell the program from a foreign process
    /// on its port.
    fn check_connects(&self) -> bool {
        self.port().is_some() && self.spec.check.as_ref().is_some_and(CheckSpec::connects)
    }

    /// Returns whether the program has listened. If so, it did not fail because its port was taken.
    pub(super) fn has_listened(&self) -> bool {
        self.check_connects() && self.agent.is_some()
    }

    /// Starts to watch for the first listener.
    fn watch(&mut self) {
        let Some((leases, port)) = self.leases.as_ref().zip(self.spec.port.as_ref()) else {
            return;
        };
        let Some(process_tree) = self.process_tree() else { return };
        let main = leases.port();
        let connects = self.check_connects();
        let sign = match self.spec.handoff_mode() {
            _ if !connects => ListenSignal::Listens(Some(self.started + LISTEN_WINDOW)),
            HandoffMode::Socket => ListenSignal::Accepts(
                SocketAddr::new(port_spec::reachable_address(port.bind), main),
                None,
            ),
            _ => ListenSignal::Connects(self.spec.probed_addresses(main)),
        };
        let (service, ports) = (self.spec.name.clone(), leases.ports());
        let overdue = connects.then_some(self.started + STARTUP_WINDOW);
        self.watch = Some(ListenWatch { service, process_tree, ports, sign, overdue });
    }
}
