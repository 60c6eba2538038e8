//! What happens if a foreign process has the port of a service.

use std::process::ExitStatus;
use std::time::Duration;

use portolan_host_facts::ForeignListener;
use tokio::time::Instant;
use tracing::warn;

use super::leases::Leases;
use super::{STARTUP_WINDOW, Service, StartError, listen_watch, start};
use crate::child::ListenerOwner;
use crate::handoff::HandoffMode;

/// The maximum number of ports that are tried if foreign processes take them.
const MAX_PORTS: u32 = 3;
/// The grace period of a program that is restarted on another port.
const RESTART_GRACE: Duration = Duration::from_secs(1);

impl Service {
    /// Returns whether the program failed because a port was not available: a foreign process
    /// listens on it, or connections of an earlier listener are in TIME-WAIT.
    pub(super) async fn port_was_taken(&self, status: ExitStatus) -> bool {
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
    pub(super) fn hint_at_guard(&self, status: ExitStatus) {
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

    pub(super) async fn leave_port(
        &mut self,
        port: u16,
        by: &ForeignListener,
    ) -> Result<(), StartError> {
        warn!(service_name = %self.spec.name, port, %by, "Foreign process listens on the port, the service is not announced there");
        let ended = self.child.stop(self.spec.stop_signal(), RESTART_GRACE).await;
        ended.map_err(|source| StartError::program(&self.spec.command, source))?;
        if self.ports_tried < MAX_PORTS {
            return self.start_on_next_port().await;
        }
        let (service, process) = (self.spec.name.clone(), by.to_string());
        Err(StartError::PortTaken { service, port, process })
    }

    pub(super) async fn start_on_next_port(&mut self) -> Result<(), StartError> {
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
        let started = start::program(&self.spec, &self.deps, leases).await?;
        (self.leases, self.child) = (started.leases, started.child);
        self.stop_command = started.stop_command;
        self.started = Instant::now();
        self.ports_tried += 1;
        self.watch_or_register().await
    }
}
