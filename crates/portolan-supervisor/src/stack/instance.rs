//! One instance of a stack's service: waits for its needs, runs, and is taken down.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use portolan_agent::Agent;
use portolan_client::DiscoveryClient;
use portolan_core::{HealthReport, HealthStatus, ServiceEndpoint, ServiceName, env};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::output::{OutputLine, Printers};
use super::row::{Row, State};
use crate::child::exit_code;
use crate::service::{Parts, Service, ServiceSpec};

/// How often the needs are looked for while one is missing, and how often the table looks again
/// where they are. Both are answered from the client's cache while nothing changed.
const LOOK_FOR_MISSING: Duration = Duration::from_millis(250);
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How long what a program left behind has to end, once the program itself has ended.
const REST: Duration = Duration::from_secs(1);

/// One instance, and what it needs to do its work.
pub(super) struct Instance {
    pub(super) index: usize,
    pub(super) number: u16,
    pub(super) spec: ServiceSpec,
    pub(super) needs: Vec<ServiceName>,
    pub(super) parts: Parts,
    pub(super) discovery: DiscoveryClient,
    pub(super) rows: watch::Sender<Vec<Row>>,
    pub(super) output: mpsc::Sender<OutputLine>,
    /// Cancelled when this instance is to end; the deadline is when it must be gone.
    pub(super) stop: CancellationToken,
    pub(super) deadline: watch::Receiver<Option<Instant>>,
}

// === impl Instance ===

impl Instance {
    pub(super) async fn run(mut self) {
        let stop = self.stop.clone();
        let ready = tokio::select! {
            found = self.wait_for_needs() => Some(found),
            () = stop.cancelled() => None,
        };
        let state = match ready {
            Some(Ok(found)) => self.start_and_watch(found).await,
            Some(Err(failed)) => State::Failed { reason: format!("needs {failed}, which failed") },
            None => State::Exited { code: 0 },
        };
        self.show(|row| {
            row.health = if state.is_failure() { HealthStatus::Critical } else { row.health };
            row.state = state;
        });
    }

    /// Where each need is, or the first that will never be there.
    async fn wait_for_needs(&self) -> Result<Vec<ServiceEndpoint>, ServiceName> {
        loop {
            if let Some(failed) = self.needs.iter().find(|need| self.has_failed(need)) {
                return Err(failed.clone());
            }
            let found = self.look_for_needs().await;
            let ready: Vec<_> =
                found.iter().flatten().filter(|found| found.is_ready()).cloned().collect();
            if ready.len() == self.needs.len() {
                return Ok(ready);
            }
            tokio::time::sleep(LOOK_FOR_MISSING).await;
        }
    }

    /// Whether the stack was to start it and no instance of it runs or will run.
    fn has_failed(&self, need: &ServiceName) -> bool {
        let rows = self.rows.borrow();
        let mut own = rows.iter().filter(|row| row.service == *need).peekable();
        own.peek().is_some() && own.all(|row| row.state.is_failure())
    }

    async fn look_for_needs(&self) -> Vec<Option<ServiceEndpoint>> {
        let look = |need: &ServiceName| {
            let request = self.discovery.discover(need.as_str()).timeout(LOOK_AGAIN).retries(0);
            // Explained, since then it is no error that is logged: the table says what is missing.
            async move { request.explain().await.result.ok().map(ServiceEndpoint::from) }
        };
        let found = join_all(self.needs.iter().map(look)).await;
        let address = |found: &Option<ServiceEndpoint>| {
            found.as_ref().map(ServiceEndpoint::address).unwrap_or_default()
        };
        let addresses: BTreeMap<_, _> =
            self.needs.iter().cloned().zip(found.iter().map(address)).collect();
        self.show(|row| row.found = addresses);
        found
    }

    async fn start_and_watch(&mut self, needs: Vec<ServiceEndpoint>) -> State {
        for (need, endpoint) in self.needs.iter().zip(&needs) {
            for (variable, value) in env::variables(need, endpoint) {
                // What the file says itself has the last word.
                self.spec.environment.entry(variable).or_insert(value);
            }
        }
        let mut service = match Service::start(self.spec.clone(), self.parts.clone()).await {
            Ok(service) => service,
            Err(error) => return State::Failed { reason: error.to_string() },
        };
        let to = self.output.clone();
        let mut printers = Printers::new(self.spec.name.clone(), self.number, to);
        printers.attach(service.child_mut());
        let state = self.watch(service, &mut printers).await;
        let deadline = *self.deadline.borrow();
        printers.finish(deadline).await;
        state
    }

    async fn watch(&self, mut service: Service, printers: &mut Printers) -> State {
        self.show_started(&mut service);
        loop {
            let mut health = service.agent().map(Agent::health);
            if let Some(health) = &mut health {
                let status = health.borrow_and_update().status;
                self.show(|row| row.health = status);
            }
            tokio::select! {
                turn = service.wait() => match service.take(turn).await {
                    Ok(None) => {
                        // It listens now, or it was started again.
                        printers.attach(service.child_mut());
                        self.show_started(&mut service);
                    }
                    Ok(Some(status)) => {
                        self.finish(service).await;
                        return State::Exited { code: exit_code(status) };
                    }
                    Err(error) => {
                        self.finish(service).await;
                        return State::Failed { reason: error.to_string() };
                    }
                },
                () = self.stop.cancelled() => return self.take_down(service).await,
                () = changed(&mut health) => {}
                () = self.look_again() => {}
            }
        }
    }

    async fn finish(&self, service: Service) {
        service.finish_group(self.time_left().map_or(REST, |left| left.min(REST))).await;
    }

    async fn look_again(&self) {
        tokio::time::sleep(LOOK_AGAIN).await;
        if !self.needs.is_empty() {
            self.look_for_needs().await;
        }
    }

    async fn take_down(&self, service: Service) -> State {
        self.show(|row| row.state = State::Stopping);
        match service.stop(self.time_left().unwrap_or_default()).await {
            // A program that ends because it was asked to has not failed.
            Ok(_) => State::Exited { code: 0 },
            Err(error) => State::Failed { reason: error.to_string() },
        }
    }

    /// Until the instance must be gone; none while nobody asked it to go.
    fn time_left(&self) -> Option<Duration> {
        self.deadline.borrow().map(|end| end.saturating_duration_since(Instant::now()))
    }

    fn show_started(&self, service: &mut Service) {
        let pid = service.child_mut().pid();
        let got = service.port();
        // A program without a port has nobody to check it: it is well while it lives.
        let lives = got.is_none().then_some(HealthStatus::Passing);
        self.show(|row| {
            row.state = State::Running;
            row.got = got;
            row.pid = pid;
            row.health = lives.unwrap_or(row.health);
        });
    }

    fn show(&self, change: impl FnOnce(&mut Row)) {
        self.rows.send_if_modified(|rows| {
            let row = &mut rows[self.index];
            let before = row.clone();
            change(row);
            *row != before
        });
    }
}

/// Returns when there is another report; never where there is nobody to make one.
async fn changed(health: &mut Option<watch::Receiver<HealthReport>>) {
    match health {
        Some(health) => match health.changed().await {
            Ok(()) => {}
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}
