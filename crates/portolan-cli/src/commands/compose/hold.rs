//! `portolan compose-hold`: the lease holder of a Compose project. It holds the leases as long as a `portolan compose` is connected,
//! or the project has containers that need them.

mod connection;
mod engine_events;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use portolan_core::{PortName, Scope, ServiceName};
use portolan_docker::Engine;
use portolan_docker::compose::{ProjectContainer, PublishedPort};
use portolan_port_allocator::{Depth, PortAllocator, PortLease, PortRequest};
use tokio::net::UnixListener;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::leases::{LeaseRequest, LeaseResponse, address, is_same_user};
use super::start::remove_left_over;
use crate::context::Context;
use crate::exit::{CommandResult, Exit, Failure};
use crate::output;
use connection::converse;
use engine_events::follow;

/// How many commands are connected at most.
const MAX_CONNECTIONS: usize = 64;
/// How often the containers are compared: an engine drops events that are not read in time.
const COMPARE: Duration = Duration::from_secs(60);

/// Options of `portolan compose-hold`.
#[derive(Debug, Args)]
pub(crate) struct ComposeHold {
    project: Scope,
    engine: PathBuf,
}

type Key = (ServiceName, Option<PortName>);
type Asked = (LeaseRequest, oneshot::Sender<LeaseResponse>);

struct Holder {
    project: Scope,
    engine: Engine,
    allocator: PortAllocator,
    leases: BTreeMap<Key, Held>,
    /// The ports of the last request.
    wanted: BTreeSet<Key>,
}

struct Held {
    wanted: PublishedPort,
    lease: PortLease,
}

// === impl ComposeHold ===

impl ComposeHold {
    pub(crate) async fn run(self, context: &Context) -> CommandResult {
        // The end of a terminal does not end it.
        _ = rustix::process::setsid();
        let listener = match address(&self.project).and_then(|it| StdListener::bind_addr(&it)) {
            Ok(listener) => listener,
            // Another one was faster, which the caller finds then.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                output::line("ready")?;
                return Ok(Exit::Done);
            }
            Err(error) => return Err(Failure::failed(error)),
        };
        listener.set_nonblocking(true).map_err(Failure::failed)?;
        let listener = UnixListener::from_std(listener).map_err(Failure::failed)?;
        let mut holder = Holder {
            project: self.project,
            engine: Engine::new(self.engine)?,
            allocator: context.allocator()?,
            leases: BTreeMap::new(),
            wanted: BTreeSet::new(),
        };
        output::line("ready")?;
        close_output().map_err(Failure::failed)?;
        holder.serve(&listener).await;
        remove_left_over(context, &holder.project);
        Ok(Exit::Done)
    }
}

// === impl Holder ===

impl Holder {
    /// Serves until no command is connected and no container needs a lease.
    async fn serve(&mut self, listener: &UnixListener) {
        let (to, mut requests) = mpsc::channel::<Asked>(MAX_CONNECTIONS);
        let mut connections = JoinSet::new();
        let changed = Notify::new();
        let follow = follow(self.engine.clone(), &changed);
        tokio::pin!(follow);
        let mut compare = interval(COMPARE);
        compare.set_missed_tick_behavior(MissedTickBehavior::Delay);
        compare.reset();
        // The caller that has started it connects in a moment.
        let mut is_used = false;
        loop {
            tokio::select! {
                accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => {
                    if let Ok((stream, _)) = accepted && is_same_user(&stream) {
                        connections.spawn(converse(stream, to.clone()));
                        is_used = true;
                    }
                    continue;
                }
                Some((request, answer)) = requests.recv() => {
                    _ = answer.send(self.answer(request).await);
                    continue;
                }
                Some(_) = connections.join_next() => {}
                () = changed.notified() => {}
                _ = compare.tick() => is_used = true,
                () = &mut follow => {}
            }
            if is_used && connections.is_empty() && self.is_done().await {
                return;
            }
        }
    }

    async fn answer(&mut self, request: LeaseRequest) -> LeaseResponse {
        match self.lease(request).await {
            Ok(ports) => LeaseResponse::Leased { ports },
            Err(Failure { exit, message, remedy }) => {
                LeaseResponse::Failed { exit: exit.code(), message, remedy }
            }
        }
    }

    async fn lease(&mut self, request: LeaseRequest) -> Result<Vec<u16>, Failure> {
        let containers = self.engine.project(self.project.as_str()).await?;
        self.wanted = request.ports.iter().map(key).collect();
        let mut ports = Vec::new();
        for wanted in request.ports {
            let own = published(&containers, &wanted.service);
            let key = key(&wanted);
            if self.leases.get(&key).is_some_and(|held| !held.serves(&wanted, &own)) {
                self.leases.remove(&key);
            }
            if !self.leases.contains_key(&key) {
                let lease =
                    self.allocator.request(self.request(&wanted, &request.directory, own))?;
                self.leases.insert(key.clone(), Held { wanted, lease });
            }
            ports.push(self.leases[&key].lease.port());
        }
        Ok(ports)
    }

    fn request(&self, wanted: &PublishedPort, directory: &Path, own: BTreeSet<u16>) -> PortRequest {
        let request = PortRequest::new(wanted.service.clone())
            .scope(self.project.clone())
            .preferred(wanted.preferred)
            .depth(Depth::Claimed)
            .udp(wanted.udp)
            .allow_ephemeral(true)
            .served(own)
            .folder(directory.to_owned());
        match &wanted.port_name {
            Some(name) => request.port_name(name.clone()),
            None => request,
        }
    }

    /// Releases what no container needs, and returns whether nothing is left. While the engine does not answer, nobody knows.
    async fn is_done(&mut self) -> bool {
        let Ok(containers) = self.engine.project(self.project.as_str()).await else { return false };
        let wanted = &self.wanted;
        self.leases.retain(|key, held| {
            let service = &held.wanted.service;
            let has_container = containers.iter().any(|it| is_of(it, service));
            let is_published = || published(&containers, service).contains(&held.lease.port());
            has_container && (wanted.contains(key) || is_published())
        });
        self.leases.is_empty()
    }
}

// === impl Held ===

impl Held {
    /// Whether the lease is for this port, and no foreign program listens on it.
    fn serves(&self, wanted: &PublishedPort, own: &BTreeSet<u16>) -> bool {
        let is_same = (self.wanted.preferred, self.wanted.udp) == (wanted.preferred, wanted.udp);
        is_same && (own.contains(&self.lease.port()) || self.lease.listener().is_none())
    }
}

fn key(port: &PublishedPort) -> Key {
    (port.service.clone(), port.port_name.clone())
}

/// Returns the ports of the host at which the running containers of a service are published.
fn published(containers: &[ProjectContainer], service: &ServiceName) -> BTreeSet<u16> {
    containers
        .iter()
        .filter(|it| is_of(it, service))
        .flat_map(ProjectContainer::published)
        .collect()
}

fn is_of(container: &ProjectContainer, service: &ServiceName) -> bool {
    container.service().parse::<ServiceName>().is_ok_and(|it| it == *service)
}

/// The caller reads until the last writer of its pipe is closed, and a terminal is not kept.
fn close_output() -> io::Result<()> {
    let null = File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(rustix::stdio::dup2_stderr(&null)?)
}
