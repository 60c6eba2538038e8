//! `portolan up`: runs a stack.

mod running;
mod screen;
mod state;
mod surroundings;
mod window;

use std::path::PathBuf;

use clap::Args;
use parking_lot::Mutex;
use portolan_core::ServiceName;
use portolan_server::{LIVE_STACK_SETTINGS, RegistryServer, Settings};
use portolan_supervisor::stack::{Stack, StackFile};
use tokio::sync::watch;
use tracing::warn;

use crate::context::Context;
use crate::exit::{CommandResult, Exit, Failure};
use crate::logging::LogLevel;
use crate::output;
use crate::received_signals::ReceivedSignals;
use crate::reload::Reload;
use running::run;
use state::{check_not_running, declare_instances};
use surroundings::surroundings;
use window::Window;

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
        let window = Window::new();
        let around = surroundings(context, file, &server, window.subscribe(), self.pass_token);
        let result = match around.map(|around| Stack::plan(&stack, &around)) {
            Ok(Ok(stack)) => {
                let declaring = declare_instances(stack.rows(), context.scope.clone(), declare);
                let notes = stack.notes().iter().filter(|_| !context.quiet);
                notes.for_each(|note| output::note(format_args!("{note}")));
                let stack = stack.abort_on_failure(self.abort_on_failure);
                let running = run(context, stack, &mut server, broadcaster.clone(), stop, &window);
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
