//! A stack while it runs.

use std::io;
use std::time::Duration;

use portolan_broadcast::Broadcaster;
use portolan_server::RegistryServer;
use portolan_supervisor::ServiceDeps;
use portolan_supervisor::leftovers::OwnerKind;
use portolan_supervisor::stack::{
    InstanceStatus, OutputLine, Stack, StackClients, StackEnd, StopRequest,
};
use rustix::process::Signal;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::screen::Screen;
use super::window::Window;
use crate::commands::{prune, shim};
use crate::context::Context;
use crate::exit::{CommandResult, Exit, Failure};
use crate::output;
use crate::received_signals::ReceivedSignals;

/// The bound of the queue of output lines; further output waits in the pipes of the programs.
const LINES: usize = 256;

/// The timeout for the last update of the screen: a stopped terminal (Ctrl-S) accepts no output.
const LAST_UPDATE: Duration = Duration::from_millis(500);

/// Runs the stack and shows it until it ends, the registry server fails, or a signal stops it.
pub(super) async fn run(
    context: &Context,
    stack: Stack,
    server: &mut RegistryServer,
    broadcaster: Option<Broadcaster>,
    mut signals: ReceivedSignals,
    window: &Window,
) -> CommandResult {
    let url = server.url();
    let parts = ServiceDeps {
        allocator: context.settings().port_allocator.clone(),
        health: context.settings().health.clone(),
        metrics: context.metrics.clone(),
        registry: Some(context.registry_at(url.clone())?),
        broadcaster: broadcaster.clone(),
        shim: Some(shim::command()),
        record: Some(prune::record(context, OwnerKind::Up)?),
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
            received = signals.next() => handle_signal(received.signal, &request, window),
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
fn handle_signal(signal: Signal, request: &StopRequest, window: &Window) {
    match signal {
        Signal::TERM | Signal::INT if request.stop.is_cancelled() => request.force.cancel(),
        Signal::QUIT => {
            request.force.cancel();
            request.stop.cancel();
        }
        Signal::TERM | Signal::INT | Signal::HUP => request.stop.cancel(),
        Signal::WINCH => window.follow(),
        other => warn!(
            signal = ?other,
            remedy = "send it to the process id of the program, which the table shows",
            "Signal is not forwarded to the programs of a stack"
        ),
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
