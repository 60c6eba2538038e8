//! Several services that need one another: described in a file, started in order of need, seen in
//! rows, and taken down in the opposite order.

pub mod file;
mod instance;
mod order;
mod output;
mod row;
mod wish;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portolan_client::DiscoveryClient;
use portolan_core::{Host, Pools, Scope, ServiceName, Ttl};
use portolan_health::CheckSpec;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use file::{InvalidStack, NamedWish, PortWish, ServiceEntry, StackFile, scope_of_folder};
pub use output::OutputLine;
pub use row::{Row, State};

use crate::child::Terminal;
use crate::service::{Parts, PortSpec, ServiceSpec};
use instance::Instance;

/// How long a stack takes to end at the most: programs get their SIGTERM at once in order of need,
/// and what is left after this gets its SIGKILL. The registry behind them ends in the second that
/// is left of the five that a person waits.
pub const GRACE: Duration = Duration::from_secs(4);

/// A stack that is ready to run.
#[derive(Debug)]
pub struct Stack {
    levels: Vec<Vec<Planned>>,
    rows: watch::Sender<Vec<Row>>,
}

/// What the services of a stack have in common.
#[derive(Debug, Clone)]
pub struct StackContext {
    /// The stack's scope.
    pub scope: Scope,
    /// The folder of its file.
    pub folder: PathBuf,
    /// Where others reach its services.
    pub host: Host,
    /// How long they stay known without a sign of life, where they do not say.
    pub ttl: Ttl,
    /// Variables that all of them get.
    pub environment: BTreeMap<String, String>,
    /// The pool catalogue, for the port that each service wants.
    pub pools: Pools,
}

#[derive(Debug)]
struct Planned {
    index: usize,
    number: u16,
    spec: ServiceSpec,
    needs: Vec<ServiceName>,
}

// === impl Stack ===

impl Stack {
    /// Plans every instance of the file, in order of need.
    pub fn plan(file: &StackFile, context: &StackContext) -> Result<Self, InvalidStack> {
        file.validate()?;
        let mut rows = Vec::new();
        let mut levels = Vec::new();
        for names in order::levels(&file.services)? {
            let mut level = Vec::new();
            for name in names {
                let entry = &file.services[&name];
                for number in 1..=entry.instances {
                    let spec = spec_of(&name, entry, context);
                    rows.push(Row::new(&name, number, wanted_port(&name, entry, &context.pools)));
                    let (index, needs) = (rows.len() - 1, entry.needs.clone());
                    level.push(Planned { index, number, spec, needs });
                }
            }
            levels.push(level);
        }
        Ok(Self { levels, rows: watch::Sender::new(rows) })
    }

    /// The rows, kept current.
    pub fn rows(&self) -> watch::Receiver<Vec<Row>> {
        self.rows.subscribe()
    }

    /// Runs the stack until all its programs have ended or it is told to stop; then takes down
    /// what is left, those that need others first. Answers with the last rows.
    pub async fn run(
        self,
        parts: &Parts,
        discovery: &DiscoveryClient,
        output: mpsc::Sender<OutputLine>,
        stop: &CancellationToken,
    ) -> Vec<Row> {
        let (set_deadline, deadline) = watch::channel(None);
        let mut running: Vec<(CancellationToken, JoinSet<()>)> = Vec::new();
        for level in self.levels {
            let (token, mut tasks) = (CancellationToken::new(), JoinSet::new());
            for planned in level {
                let instance = Instance {
                    index: planned.index,
                    number: planned.number,
                    spec: planned.spec,
                    needs: planned.needs,
                    parts: parts.clone(),
                    discovery: discovery.clone(),
                    rows: self.rows.clone(),
                    output: output.clone(),
                    stop: token.clone(),
                    deadline: deadline.clone(),
                };
                tasks.spawn(instance.run());
            }
            running.push((token, tasks));
        }
        // From here on the programs alone keep it open, so it ends with the last of them.
        drop(output);
        tokio::select! {
            () = stop.cancelled() => {}
            () = all_ended(self.rows.subscribe()) => {}
        }
        take_down(running, &set_deadline).await;
        self.rows.borrow().clone()
    }
}

/// Takes the levels down, the last first; each has its share of the time that is left.
async fn take_down(
    mut running: Vec<(CancellationToken, JoinSet<()>)>,
    set_deadline: &watch::Sender<Option<Instant>>,
) {
    let end = Instant::now() + GRACE;
    while let Some((token, tasks)) = running.pop() {
        let left = end.saturating_duration_since(Instant::now());
        let levels = u32::try_from(running.len() + 1).unwrap_or(u32::MAX);
        set_deadline.send_replace(Some(Instant::now() + left / levels));
        token.cancel();
        tasks.join_all().await;
    }
}

async fn all_ended(mut rows: watch::Receiver<Vec<Row>>) {
    let ended = |rows: &Vec<Row>| rows.iter().all(|row| row.state.is_final());
    // The sender lives as long as the stack, so this ends only when all have ended.
    _ = rows.wait_for(ended).await;
}

fn spec_of(name: &ServiceName, entry: &ServiceEntry, context: &StackContext) -> ServiceSpec {
    let mut environment = context.environment.clone();
    environment.extend(entry.env.clone());
    let directory = entry.directory.as_deref().unwrap_or(Path::new(""));
    ServiceSpec {
        name: name.clone(),
        scope: context.scope.clone(),
        command: entry.command.clone(),
        port: port_of(entry, context),
        host: context.host.clone(),
        protocol: entry.protocol.clone(),
        version: entry.version.clone(),
        metadata: entry.metadata.clone(),
        check: check_of(entry),
        ttl: entry.ttl.unwrap_or(context.ttl),
        handoff: entry.handoff,
        environment,
        directory: Some(context.folder.join(directory)),
        terminal: Terminal::Captured,
    }
}

/// What listens is checked by connecting to it, where nothing else is said.
fn check_of(entry: &ServiceEntry) -> Option<CheckSpec> {
    match entry.port {
        PortWish::None => None,
        _ => Some(entry.health.clone().unwrap_or_else(tcp)),
    }
}

fn tcp() -> CheckSpec {
    "tcp".parse().expect("tcp is a check")
}

fn port_of(entry: &ServiceEntry, context: &StackContext) -> Option<PortSpec> {
    let preferred = match entry.port {
        PortWish::None => return None,
        PortWish::OfPool => None,
        PortWish::Preferred(port) => Some(port),
    };
    Some(PortSpec {
        preferred,
        pool: entry.pool.clone(),
        allow_ephemeral: None,
        folder: Some(context.folder.clone()),
        bind: entry.bind,
        udp: entry.udp,
        named: entry.named_ports(),
    })
}

/// The port that the service gets if it is free.
fn wanted_port(name: &ServiceName, entry: &ServiceEntry, pools: &Pools) -> Option<u16> {
    match entry.port {
        PortWish::None => None,
        PortWish::Preferred(port) => Some(port),
        PortWish::OfPool => {
            let pool = match &entry.pool {
                Some(pool) => pools.get(pool),
                None => pools.of_service(name.as_str()),
            };
            pool.map(|pool| pool.default_port)
        }
    }
}

#[cfg(test)]
mod tests;
