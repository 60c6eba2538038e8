//! One instance of a service in a stack: waits for its needs, runs, and is stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use portolan_agent::Agent;
use portolan_core::{
    HealthReport, HealthStatus, Protocol, Remedy as _, ServiceEndpoint, ServiceName, env,
};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::file::Condition;
use super::files::{FileEntry, RenderedFiles};
use super::output::{OutputLine, Printers};
use super::status::{InstanceState, InstanceStatus};
use super::{FirstFailure, StackClients};
use crate::child::exit_code;
use crate::service::{Service, ServiceDeps, ServiceSpec};

/// Poll interval while a need is missing, and refresh interval afterwards. The client's cache
/// answers both while nothing has changed.
const MISSING_NEED_INTERVAL: Duration = Duration::from_millis(250);
const REFRESH_INTERVAL: Duration = Duration::from_secs(2);
/// The grace period for processes that a program left behind when it exited.
const LEFTOVER_GRACE: Duration = Duration::from_secs(1);
/// The time after which a program that does not listen is no longer said to be starting.
const STARTUP_WINDOW: Duration = Duration::from_secs(10);

/// The exit status of a program that SIGKILL ended.
const KILLED: u8 = 128 + 9;

/// An instance and its dependencies.
pub(super) struct Instance {
    pub(super) index: usize,
    pub(super) number: u16,
    pub(super) spec: ServiceSpec,
    pub(super) needs: Vec<ServiceName>,
    /// Needs that only have to be in a state.
    pub(super) others: Vec<(ServiceName, Condition)>,
    /// Further schemes of the URLs that programs get.
    pub(super) url_schemes: BTreeSet<Protocol>,
    pub(super) deps: ServiceDeps,
    pub(super) clients: StackClients,
    pub(super) files: Vec<FileEntry>,
    /// That of the stack file.
    pub(super) folder: PathBuf,
    pub(super) rows: watch::Sender<Vec<InstanceStatus>>,
    pub(super) output: mpsc::Sender<OutputLine>,
    /// Cancelled when this instance must stop, within `grace`.
    pub(super) stop: CancellationToken,
    /// Cancelled when it must stop at once.
    pub(super) force: CancellationToken,
    pub(super) grace: Duration,
    pub(super) first_failure: FirstFailure,
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
            Some(Ok(found)) => self.start_and_supervise(found).await,
            Some(Err(failed)) => failed_state(failed, 1),
            None => InstanceState::Exited { code: 0 },
        };
        if let Some(code) = state.failure_code() {
            self.first_failure.lock().get_or_insert(code);
        }
        self.publish(|row| {
            row.health = if state.is_failure() { HealthStatus::Critical } else { row.health };
            row.state = state;
        });
    }

    /// Returns the endpoint of each need, or why a need will never be ready.
    async fn wait_for_needs(&self) -> Result<Vec<ServiceEndpoint>, String> {
        loop {
            if let Some(reason) = self.hopeless_need() {
                return Err(reason);
            }
            let found = self.resolve_needs().await;
            let ready: Vec<_> =
                found.iter().flatten().filter(|found| found.is_ready()).cloned().collect();
            if ready.len() == self.needs.len() && self.others.iter().all(|it| self.is_met(it)) {
                return Ok(ready);
            }
            tokio::time::sleep(MISSING_NEED_INTERVAL).await;
        }
    }

    /// Returns why a need of this stack will never be ready.
    fn hopeless_need(&self) -> Option<String> {
        let all = |need: &ServiceName, is: fn(&InstanceState) -> bool| {
            let rows = self.rows.borrow();
            let mut own = rows.iter().filter(|row| row.service == *need).peekable();
            own.peek().is_some() && own.all(|row| is(&row.state))
        };
        let others = self.others.iter().map(|(need, _)| need);
        if let Some(failed) =
            self.needs.iter().chain(others).find(|need| all(need, InstanceState::is_failure))
        {
            return Some(format!("needs {failed}, which failed"));
        }
        let ended = self.needs.iter().find(|need| all(need, InstanceState::is_final))?;
        Some(format!(
            "needs {ended}, which has ended; if it is a job, write `needs: {{{ended}: completed}}`"
        ))
    }

    /// Returns whether every instance of a service of this stack is in the state.
    fn is_met(&self, (need, condition): &(ServiceName, Condition)) -> bool {
        let rows = self.rows.borrow();
        let is_met = |state: &InstanceState| match condition {
            Condition::Started => matches!(
                state,
                InstanceState::Starting | InstanceState::NotListening | InstanceState::Running
            ),
            _ => false,
        };
        rows.iter()
            .filter(|row| row.service == *need)
            .all(|row| row.state == InstanceState::Exited { code: 0 } || is_met(&row.state))
    }

    async fn resolve_needs(&self) -> Vec<Option<ServiceEndpoint>> {
        let look = |need: &ServiceName| {
            let request =
                self.clients.discovery.discover(need).timeout(REFRESH_INTERVAL).retries(0);
            // `explain` logs no error for a need that is not found yet; the status shows it.
            async move { request.explain().await.result.ok().map(ServiceEndpoint::from) }
        };
        let found = join_all(self.needs.iter().map(look)).await;
        let address = |found: &Option<ServiceEndpoint>| {
            found.as_ref().map(ServiceEndpoint::address).unwrap_or_default()
        };
        let addresses: BTreeMap<_, _> =
            self.needs.iter().cloned().zip(found.iter().map(address)).collect();
        self.publish(|row| row.found = addresses);
        found
    }

    async fn start_and_supervise(&mut self, needs: Vec<ServiceEndpoint>) -> InstanceState {
        for (need, endpoint) in self.needs.iter().zip(&needs) {
            let variables = match env::variables(need, endpoint, "", &self.url_schemes) {
                Ok(variables) => variables,
                Err(error) => return failed_state(error.with_remedy(), 2),
            };
            for (variable, value) in variables {
                // Variables set in the file take precedence.
                self.spec.environment.entry(variable).or_insert(value);
            }
        }
        let files = RenderedFiles::render(
            &self.files,
            &self.folder,
            &self.clients.uncached,
            &self.url_schemes,
        );
        let files = match files.await {
            Ok(files) => files,
            Err(reason) => return failed_state(reason, 1),
        };
        let mut service = match Service::start(self.spec.clone(), self.deps.clone()).await {
            Ok(service) => service,
            Err(error) => return failed_state(error.with_remedy(), error.exit_code()),
        };
        let to = self.output.clone();
        let mut printers = Printers::new(self.spec.name.clone(), self.number, to);
        printers.attach(service.child_mut());
        let state = self.watch(service, &files, &mut printers).await;
        files.end().await;
        printers.finish().await;
        state
    }

    async fn watch(
        &self,
        mut service: Service,
        files: &RenderedFiles,
        printers: &mut Printers,
    ) -> InstanceState {
        self.publish_started(&mut service);
        let overdue = Instant::now() + STARTUP_WINDOW;
        loop {
            let is_starting = self.rows.borrow()[self.index].state == InstanceState::Starting;
            let mut health = service.agent().map(Agent::health);
            if let Some(health) = &mut health {
                let status = health.borrow_and_update().status;
                self.publish(|row| row.health = status);
            }
            tokio::select! {
                event = service.wait() => match service.handle(event).await {
                    Ok(None) => {
                        // The program listens now, or it was restarted on another port.
                        printers.attach(service.child_mut());
                        self.publish_started(&mut service);
                    }
                    Ok(Some(status)) => {
                        self.finish(service).await;
                        return InstanceState::Exited { code: exit_code(status) };
                    }
                    Err(error) => {
                        self.finish(service).await;
                        return failed_state(error.with_remedy(), error.exit_code());
                    }
                },
                () = self.stop.cancelled() => return self.shut_down(service).await,
                () = changed(&mut health) => {}
                // Before that, a program may not handle the signal yet.
                signal = files.changed(), if !is_starting => service.child_mut().forward(signal.signal()),
                () = sleep_until(overdue), if is_starting => {
                    self.publish(|row| row.state = InstanceState::NotListening);
                }
                () = self.refresh_needs() => {}
            }
        }
    }

    async fn finish(&self, service: Service) {
        service.finish_group(LEFTOVER_GRACE.min(self.grace)).await;
    }

    async fn refresh_needs(&self) {
        tokio::time::sleep(REFRESH_INTERVAL).await;
        if !self.needs.is_empty() {
            self.resolve_needs().await;
        }
    }

    async fn shut_down(&self, service: Service) -> InstanceState {
        self.publish(|row| row.state = InstanceState::Stopping);
        let hurry = service.skip_grace();
        let stopping = service.stop(self.grace);
        tokio::pin!(stopping);
        let ended = tokio::select! {
            ended = &mut stopping => ended,
            () = self.force.cancelled() => {
                hurry.cancel();
                stopping.await
            }
        };
        match ended {
            Ok(status) if exit_code(status) == KILLED => InstanceState::Exited { code: KILLED },
            // Exiting on request is not a failure.
            Ok(_) => InstanceState::Exited { code: 0 },
            Err(error) => failed_state(error.to_string(), 1),
        }
    }

    fn publish_started(&self, service: &mut Service) {
        let pid = service.child_mut().pid();
        let got = service.port();
        // Without a port there is no health check, so the instance is passing while it runs.
        let lives = got.is_none().then_some(HealthStatus::Passing);
        let listens = got.is_none() || !service.is_awaited();
        self.publish(|row| {
            row.state = match listens {
                true => InstanceState::Running,
                false => InstanceState::Starting,
            };
            row.got = got;
            row.pid = pid;
            row.health = lives.unwrap_or(row.health);
        });
    }

    fn publish(&self, change: impl FnOnce(&mut InstanceStatus)) {
        self.rows.send_if_modified(|rows| {
            let row = &mut rows[self.index];
            let before = row.clone();
            change(row);
            if row.state != before.state {
                row.since = Timestamp::now();
            }
            *row != before
        });
    }
}

fn failed_state(reason: String, code: u8) -> InstanceState {
    InstanceState::Failed { reason, code }
}

/// Returns when the health report changes; never if there is no report.
async fn changed(health: &mut Option<watch::Receiver<HealthReport>>) {
    match health {
        Some(health) => match health.changed().await {
            Ok(()) => {}
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}
