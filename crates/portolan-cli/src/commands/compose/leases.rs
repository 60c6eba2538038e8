//! The client of the lease holder of a project ([`hold`](super::hold)).

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use portolan_core::Scope;
use portolan_docker::compose::PublishedPort;
use rustix::io::FdFlags;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::time::timeout;

use crate::context::{Context, withheld_variables};
use crate::exit::{Exit, Failure};

/// How long the holder may take to start, and to answer: it asks the engine, and allocates every port.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The limit on a request or an answer in bytes.
pub(super) const MAX_LINE: u64 = 4 << 20;
/// How often a connection is tried: a holder may end at any moment.
const TRIES: usize = 5;

/// What a project needs.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LeaseRequest {
    pub(super) directory: PathBuf,
    pub(super) ports: Vec<PublishedPort>,
}

/// The answer of the holder.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum LeaseResponse {
    /// The ports in the order of the request.
    Leased { ports: Vec<u16> },
    /// They could not be leased.
    Failed { exit: u8, message: String, remedy: Option<String> },
}

/// The connection to the holder. The leases last as long as it, and as long as containers need them.
#[derive(Debug)]
pub(super) struct Leases {
    stream: BufReader<UnixStream>,
}

// === impl Leases ===

impl Leases {
    /// Connects to the holder of the project, which is started if there is none, and leases the ports.
    pub(super) async fn lease(
        context: &Context,
        project: &Scope,
        engine: &Path,
        request: &LeaseRequest,
    ) -> Result<(Self, Vec<u16>), Failure> {
        for _ in 0..TRIES {
            let stream = match connect(project) {
                Ok(stream) => stream,
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    start_holder(context, project, engine).await?;
                    continue;
                }
                Err(error) => return Err(broken(&error)),
            };
            let mut leases = Self { stream: BufReader::new(stream) };
            match leases.ask(request).await {
                Ok(ports) => return Ok((leases, ports?)),
                // It has ended at this moment, because the project had no container.
                Err(error) if is_end(&error) => {}
                Err(error) => return Err(broken(&error)),
            }
        }
        Err(broken(&"it ends at once"))
    }

    /// Lets the programs that are started from now on keep the connection open.
    pub(super) fn share_with_children(&self) -> io::Result<()> {
        Ok(rustix::io::fcntl_setfd(self.stream.get_ref(), FdFlags::empty())?)
    }

    /// Leases the ports again: a port that another program uses by now is replaced.
    pub(super) async fn again(&mut self, request: &LeaseRequest) -> Result<Vec<u16>, Failure> {
        self.ask(request).await.map_err(|error| broken(&error))?
    }

    async fn ask(&mut self, request: &LeaseRequest) -> io::Result<Result<Vec<u16>, Failure>> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        let mut answer = String::new();
        let ask = async {
            self.stream.get_mut().write_all(&line).await?;
            (&mut self.stream).take(MAX_LINE).read_line(&mut answer).await
        };
        timeout(TIMEOUT, ask).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        if answer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(match serde_json::from_str(&answer)? {
            LeaseResponse::Leased { ports } if ports.len() == request.ports.len() => Ok(ports),
            LeaseResponse::Leased { .. } => Err(broken(&"its answer has another number of ports")),
            LeaseResponse::Failed { exit, message, remedy } => {
                Err(Failure { exit: Exit::from_code(exit), message, remedy })
            }
        })
    }
}

/// The socket of the holder: an abstract name (unix(7)), which is unique in the network namespace of the ports.
pub(super) fn address(project: &Scope) -> io::Result<SocketAddr> {
    let user = rustix::process::geteuid().as_raw();
    SocketAddr::from_abstract_name(format!("portolan-compose-{user}-{project}"))
}

/// Whether the peer belongs to this user: any process of the network namespace can use the name.
pub(super) fn is_same_user(stream: &impl std::os::fd::AsFd) -> bool {
    rustix::net::sockopt::socket_peercred(stream)
        .is_ok_and(|peer| peer.uid == rustix::process::geteuid())
}

fn connect(project: &Scope) -> io::Result<UnixStream> {
    let stream = StdStream::connect_addr(&address(project)?)?;
    if !is_same_user(&stream) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "another user has its name"));
    }
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    [BrokenPipe, ConnectionReset, UnexpectedEof].contains(&error.kind())
}

async fn start_holder(context: &Context, project: &Scope, engine: &Path) -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(|error| broken(&error))?;
    let mut command = Command::new(program);
    withheld_variables().for_each(|name| _ = command.env_remove(name));
    command
        .args(context.repeated_options())
        .args([OsStr::new("compose-hold"), project.as_str().as_ref(), engine.as_os_str()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .current_dir("/");
    let mut holder = command.spawn().map_err(|error| broken(&error))?;
    let stdout = holder.stdout.take().ok_or_else(|| broken(&"it has no standard output"))?;
    // It closes its output when it is ready.
    let mut ready = String::new();
    let mut stdout = BufReader::new(stdout.take(MAX_LINE));
    let read = timeout(TIMEOUT, stdout.read_line(&mut ready)).await;
    let read = read.map_err(|_| broken(&"it did not start in time"))?;
    match read {
        Ok(0) => Err(broken(&"it did not start")),
        Ok(_) => Ok(()),
        Err(error) => Err(broken(&error)),
    }
}

fn broken(reason: &dyn std::fmt::Display) -> Failure {
    Failure::failed(format_args!("the lease holder of the project cannot be used: {reason}"))
}
