//! One instance of a stack's service: waits for its needs, runs, and is taken down.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::{OptionFuture, join_all};
use portolan_client::DiscoveryClient;
use portolan_core::{HealthStatus, ServiceEndpoint, ServiceName, env};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::row::{Row, State};
use crate::child::{Child, exit_code};
use crate::service::{Parts, Service, ServiceSpec};

/// How often the needs are looked for while one is missing, and how often the table looks again
/// where they are. Both are answered from the client's cache while nothing changed.
const LOOK_FOR_MISSING: Duration = Duration::from_millis(250);
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// The longest line of a program's output that is passed on in one piece.
const LONGEST_LINE: u64 = 16 * 1024;

/// A line that a service printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputLine {
    /// The service.
    pub service: ServiceName,
    /// Which of its instances, counted from 1.
    pub instance: u16,
    /// The line, without its end.
    pub text: String,
}

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
    pub(super) deadline: watch::Receiver<Instant>,
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
            Some(found) => self.start_and_watch(found).await,
            None => State::Exited { code: 0 },
        };
        self.show(|row| {
            row.health = if state.is_failure() { HealthStatus::Critical } else { row.health };
            row.state = state;
        });
    }

    async fn wait_for_needs(&self) -> Vec<ServiceEndpoint> {
        loop {
            let found = self.look_for_needs().await;
            let ready: Vec<_> =
                found.iter().flatten().filter(|found| found.is_ready()).cloned().collect();
            if ready.len() == self.needs.len() {
                return ready;
            }
            tokio::time::sleep(LOOK_FOR_MISSING).await;
        }
    }

    async fn look_for_needs(&self) -> Vec<Option<ServiceEndpoint>> {
        let look = |need: &ServiceName| {
            let request = self.discovery.discover(need.as_str()).timeout(LOOK_AGAIN).retries(0);
            async move { request.await.ok().map(ServiceEndpoint::from) }
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
            self.spec.environment.extend(env::variables(need, endpoint));
        }
        let mut service = match Service::start(self.spec.clone(), self.parts.clone()).await {
            Ok(service) => service,
            Err(error) => return State::Failed { reason: error.to_string() },
        };
        let printers = TaskTracker::new();
        self.pass_on_output(service.child_mut(), &printers);
        let state = self.watch(service).await;
        printers.close();
        // A descendant that left the group may hold the pipe open; its words are not waited for.
        let deadline = *self.deadline.borrow();
        _ = timeout_at(deadline.min(Instant::now() + LOOK_AGAIN), printers.wait()).await;
        state
    }

    async fn watch(&self, mut service: Service) -> State {
        let mut pid = None;
        loop {
            if pid != service.child_mut().pid() {
                pid = service.child_mut().pid();
                self.show_started(&service, pid);
            }
            let health = service.agent().map(|agent| agent.health());
            let mut changes = health.clone();
            let changed: OptionFuture<_> = changes.as_mut().map(|health| health.changed()).into();
            tokio::select! {
                ended = service.wait() => {
                    service.finish().await;
                    return match ended {
                        Ok(status) => State::Exited { code: exit_code(status) },
                        Err(error) => State::Failed { reason: error.to_string() },
                    };
                }
                () = self.stop.cancelled() => return self.take_down(service).await,
                Some(Ok(())) = changed => {}
                _ = self.look_again() => {}
            }
            if let Some(health) = health {
                let status = health.borrow().status;
                self.show(|row| row.health = status);
            }
        }
    }

    async fn look_again(&self) {
        tokio::time::sleep(LOOK_AGAIN).await;
        if !self.needs.is_empty() {
            self.look_for_needs().await;
        }
    }

    async fn take_down(&self, service: Service) -> State {
        self.show(|row| row.state = State::Stopping);
        let deadline = *self.deadline.borrow();
        let grace = deadline.saturating_duration_since(Instant::now());
        match service.stop(grace).await {
            // A program that ends because it was asked to has not failed.
            Ok(_) => State::Exited { code: 0 },
            Err(error) => State::Failed { reason: error.to_string() },
        }
    }

    fn show_started(&self, service: &Service, pid: Option<u32>) {
        let got = service.endpoint().map(|endpoint| endpoint.port);
        // A program without a port has nobody to check it: it is well while it lives.
        let lives = service.agent().is_none().then_some(HealthStatus::Passing);
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

    fn pass_on_output(&self, child: &mut Child, printers: &TaskTracker) {
        let (stdout, stderr) = child.output();
        let line = OutputLine {
            service: self.spec.name.clone(),
            instance: self.number,
            text: String::new(),
        };
        if let Some(stdout) = stdout {
            printers.spawn(pass_on(stdout, line.clone(), self.output.clone()));
        }
        if let Some(stderr) = stderr {
            printers.spawn(pass_on(stderr, line, self.output.clone()));
        }
    }
}

/// Passes lines on until the pipe or the reader is closed. What is not read stays in the pipe and
/// slows the program down, as a terminal would, instead of filling our memory.
async fn pass_on(from: impl AsyncRead + Unpin, line: OutputLine, to: mpsc::Sender<OutputLine>) {
    let mut from = BufReader::new(from);
    while let Some(text) = next_line(&mut from).await {
        if to.send(OutputLine { text, ..line.clone() }).await.is_err() {
            // Nobody reads any more; the program must still be able to print.
            _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
        }
    }
}

async fn next_line(from: &mut (impl AsyncBufRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    let read = from.take(LONGEST_LINE).read_until(b'\n', &mut bytes).await.ok()?;
    let text = String::from_utf8_lossy(&bytes);
    (read > 0).then(|| text.trim_end_matches(['\r', '\n']).to_owned())
}
