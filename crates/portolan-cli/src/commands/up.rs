//! `portolan up`: runs a stack.

mod screen;
mod surroundings;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use parking_lot::Mutex;
use portolan_broadcast::Broadcaster;
use portolan_core::{DeclaredInstance, Scope, ServiceName};
use portolan_server::{LIVE_STACK_SETTINGS, REGISTRY_SERVICE, RegistryServer, Settings};
use portolan_supervisor::ServiceDeps;
use portolan_supervisor::stack::{
    InstanceStatus, OutputLine, Stack, StackClients, StackEnd, StackFile, StopRequest,
};
use rustix::process::Signal;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::context::Context;
use crate::exit::{CommandResult, Exit, Failure};
use crate::logging::LogLevel;
use crate::output;
use crate::received_signals::ReceivedSignals;
use crate::reload::Reload;
use screen::Screen;
use surroundings::surroundings;

/// The bound of the queue of output lines; further output waits in the pipes of the programs.
const LINES: usize = 256;

/// The timeout for the last update of the screen: a stopped terminal (Ctrl-S) accepts no output.
const LAST_UPDATE: Duration = Duration::from_millis(500);

/// Options of `portolan up`.
#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Services to start, with what they need [default: all]; the first one may be the file with the stack, instead of --config
    #[arg(value_name = "FILE|SERVICE")]
    arguments: Vec<String>,
    /// Stop the stack as soon as a service has failed, with its exit status
    #[arg(long)]
    abort_on_failure: bool,
    /// Give the programs PORTOLAN_TOKEN and PORTOLAN_BROADCAST_KEY, which every program of this user can then read
    #[arg(long)]
    pass_token: bool,
}

impl Up {
    /// Returns the named file, which also has the settings: a name of a service has neither a slash nor this ending.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        let first = self.arguments.first().filter(|it| is_file(it));
        first.map(PathBuf::from)
    }

    fn services(&self) -> Result<Vec<ServiceName>, Failure> {
        let names = self.arguments.iter().skip(usize::from(self.file().is_some()));
        let name = |text: &String| text.parse().map_err(Failure::usage);
        names.map(name).collect()
    }

    pub(crate) async fn run(self, context: &Context, log_level: LogLevel) -> CommandResult {
        let stop = ReceivedSignals::start()?;
        let file = context.file.as_deref().ok_or_else(no_file)?;
        let mut stack = context.stack()?;
        stack
            .select(&self.services()?)
            .map_err(|error| Failure::from_error(Exit::Usage, &error))?;
        let settings = following(stack.clone());
        let mut reload = Reload::of(context, log_level, LIVE_STACK_SETTINGS, settings)?;
        check_not_running(context)?;
        let broadcaster = context.broadcaster().await?;
        let (declare, declared) = watch::channel(Vec::new());
        let mut server = RegistryServer::builder(reload.settings())
            .scope(context.scope.clone())
            .metrics(context.metrics.clone())
            .broadcaster(broadcaster.clone())
            .on_any_port(true)
            .declared(declared)
            .of_stack(true)
            .live(reload.manager())
            .start()
            .await?;
        let around = surroundings(context, file, &server, self.pass_token);
        let result = match around.map(|around| Stack::plan(&stack, &around)) {
            Ok(Ok(stack)) => {
                let declaring = declare_instances(stack.rows(), context.scope.clone(), declare);
                let notes = stack.notes().iter().filter(|_| !context.quiet);
                notes.for_each(|note| output::note(format_args!("{note}")));
                let stack = stack.abort_on_failure(self.abort_on_failure);
                let running = run(context, stack, &mut server, broadcaster.clone(), stop);
                tokio::pin!(running);
                let following = async { tokio::join!(declaring, reload.run()) };
                tokio::select! {
                    result = &mut running => result,
                    _ = following => running.await,
                }
            }
            Ok(Err(error)) => Err(Failure::from_error(Exit::Usage, &error)),
            Err(failure) => Err(failure),
        };
        server.stop().await;
        if let Some(broadcaster) = broadcaster {
            broadcaster.stop().await;
        }
        result
    }
}

/// Returns the settings of the file whenever it is loaded again, and says that changed services need a restart.
fn following(stack: StackFile) -> impl Fn(&Context) -> Result<Settings, Failure> {
    let seen = Mutex::new(stack);
    move |context| {
        let stack = context.stack()?;
        let mut seen = seen.lock();
        if *seen != stack {
            warn!(
                remedy = "restart `portolan up`",
                "Services of the stack have changed in the file, those that run stay as they are"
            );
            *seen = stack;
        }
        Ok(context.settings().clone())
    }
}

/// Runs the stack and shows it until it ends, the registry server fails, or a signal stops it.
async fn run(
    context: &Context,
    stack: Stack,
    server: &mut RegistryServer,
    broadcaster: Option<Broadcaster>,
    mut signals: ReceivedSignals,
) -> CommandResult {
    let url = server.url();
    let parts = ServiceDeps {
        allocator: context.settings().port_allocator.clone(),
        health: context.settings().health.clone(),
        metrics: context.metrics.clone(),
        registry: Some(context.registry_at(url.clone())?),
        broadcaster: broadcaster.clone(),
        shim: Some(super::shim::command()),
    };
    let clients = StackClients {
        discovery: context.discovery_at(url.clone(), broadcaster.clone())?,
        uncached: context.uncached_discovery_at(url.clone(), broadcaster)?,
    };
    let (lines, printed) = mpsc::channel(LINES);
    let request = StopRequest::default();
    let screen = Screen::new(context, &url).map_err(Failure::failed)?;
    let showing = tokio::spawn(show(screen, stack.rows(), printed, request.stop.clone()));
    let running = stack.run(&parts, &clients, lines, &request);
    tokio::pin!(running);
    let mut failure = None;
    let end: StackEnd = loop {
        tokio::select! {
            end = &mut running => break end,
            received = signals.next() => handle_signal(received.signal, &request),
            error = server.wait(), if failure.is_none() => {
                failure = Some(error);
                request.stop.cancel();
            }
        }
    };
    clients.discovery.close().await;
    clients.uncached.close().await;
    match timeout(LAST_UPDATE, showing).await {
        Ok(Ok(Err(error))) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(output::cannot_print(&error));
        }
        _ => {}
    }
    if let Some(error) = failure {
        return Err(error.into());
    }
    Ok(match end.exit_code {
        0 => Exit::Done,
        code => Exit::Child(code),
    })
}

/// Stops the stack; a second request, or SIGQUIT, skips the grace periods. The programs have other groups, so that no terminal
/// sends them signals.
fn handle_signal(signal: Signal, request: &StopRequest) {
    match signal {
        Signal::TERM | Signal::INT if request.stop.is_cancelled() => request.force.cancel(),
        Signal::QUIT => {
            request.force.cancel();
            request.stop.cancel();
        }
        Signal::TERM | Signal::INT | Signal::HUP => request.stop.cancel(),
        Signal::WINCH => {}
        other => warn!(
            signal = ?other,
            remedy = "send it to the process id of the program, which the table shows",
            "Signal is not forwarded to the programs of a stack"
        ),
    }
}

/// Tells the registry the state of every instance, until the stack ends.
async fn declare_instances(
    mut rows: watch::Receiver<Vec<InstanceStatus>>,
    scope: Scope,
    declare: watch::Sender<Vec<DeclaredInstance>>,
) {
    loop {
        let declared = rows.borrow_and_update().iter().map(|row| row.declared(&scope)).collect();
        declare.send_if_modified(|known| {
            let differs = *known != declared;
            *known = declared;
            differs
        });
        if rows.changed().await.is_err() {
            return;
        }
    }
}

/// Fails if a stack of this scope is running: each would discover the services of the other.
fn check_not_running(context: &Context) -> Result<(), Failure> {
    let registry: ServiceName = REGISTRY_SERVICE.parse().map_err(Failure::failed)?;
    let holders = context.allocator()?.holders();
    let running =
        holders.iter().find(|holder| holder.service == registry && holder.scope == context.scope);
    match running {
        Some(holder) => Err(Failure::failed(format_args!(
            "the stack {} is already running in process {}",
            context.scope, holder.pid
        ))
        .remedy("stop that stack, or run this one in another scope with --scope")),
        None => Ok(()),
    }
}

/// Shows the stack until the output of its last program has ended. If the output is closed, as by
/// `| head`, stops the stack.
async fn show(
    mut screen: Screen,
    mut rows: watch::Receiver<Vec<InstanceStatus>>,
    mut lines: mpsc::Receiver<OutputLine>,
    stop: CancellationToken,
) -> io::Result<()> {
    let stop_on_error = stop.drop_guard();
    let first = rows.borrow_and_update().clone();
    screen.show(&first).await?;
    let mut batch = Vec::with_capacity(LINES);
    while tokio::select! {
        received = lines.recv_many(&mut batch, LINES) => received > 0,
        Ok(()) = rows.changed() => true,
    } {
        if !batch.is_empty() {
            screen.print(&batch).await?;
            batch.clear();
        }
        let current = rows.borrow_and_update().clone();
        screen.show(&current).await?;
    }
    let last = rows.borrow().clone();
    screen.show(&last).await?;
    stop_on_error.disarm();
    Ok(())
}

fn is_file(argument: &str) -> bool {
    argument.contains('/') || [".yaml", ".yml"].iter().any(|ending| argument.ends_with(ending))
}

fn no_file() -> Failure {
    Failure::usage("no portolan.yaml in this directory or above it")
        .remedy("name the file: portolan up FILE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_argument_is_a_file_if_it_cannot_be_a_service() {
        let parsed = |arguments: &[&str]| {
            let arguments = arguments.iter().map(|it| (*it).to_owned()).collect();
            let up = Up { arguments, abort_on_failure: false, pass_token: false };
            let services = up.services().map(|names| names.len());
            (up.file().map(|file| file.display().to_string()), services.ok())
        };
        assert_eq!(parsed(&[]), (None, Some(0)));
        assert_eq!(parsed(&["api", "web"]), (None, Some(2)));
        assert_eq!(parsed(&["./stack", "web"]), (Some("./stack".to_owned()), Some(1)));
        assert_eq!(parsed(&["a.yml"]), (Some("a.yml".to_owned()), Some(0)));
        assert_eq!(parsed(&["api", "./stack"]), (None, None));
    }
}
