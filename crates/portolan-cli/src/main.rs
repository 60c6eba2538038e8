//! The `portolan` command: every service finds a port, and every client finds the service.

mod cli;
mod commands;
mod config_file;
mod context;
mod destinations;
mod endpoint_args;
mod exit;
mod exit_codes;
mod global;
mod init;
mod logging;
mod output;
mod received_signals;
mod reload;
mod runtime;
mod sandbox;
mod shutdown;
mod suggestion;
mod trust;
mod usage_hint;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use clap::{CommandFactory as _, Parser as _};
use serde_json::json;
use signal_hook::consts::SIGXFSZ;
use tokio::runtime::Builder;

use cli::{Cli, Command, ServiceCommand};
use context::Context;
use exit::{CommandResult, Exit, Failure};
use global::Global;
use logging::LogLevel;
use sandbox::Restriction;
use usage_hint::usage_hint;

/// `serve` answers registrations with a third less CPU time than with the allocator of the C library, and gives back more of the memory that
/// a burst of connections took (docs/performance.md). Not in the default build, which is to compile fast.
#[cfg(feature = "full")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long the end of a command waits for its last output.
const LAST_OUTPUT: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let Cli { global, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return print_usage(&error).into(),
    };
    // Beyond a limit on the size of files (setrlimit(2)) a write is to fail, and not to end the program. Children get the default.
    _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
    let result = if init::is_needed() { init::run() } else { run(&global, command) };
    let exit = result.unwrap_or_else(|failure| print_failure(&global, &failure));
    // What nobody reads does not keep the command from ending.
    output::background::finish(LAST_OUTPUT);
    exit.into()
}

fn run(global: &Global, command: Command) -> CommandResult {
    match command {
        Command::Service(command) => run_service_command(global, command),
        // These commands also run if the configuration is invalid.
        Command::Config(config) => config.run(global),
        Command::Trust(trust) => trust.run(global),
        Command::Audit(audit) => audit.run(global),
        Command::Shim(shim) => shim.run(),
        Command::Completions(completions) => completions.run(global, Cli::command()),
    }
}

fn run_service_command(global: &Global, command: ServiceCommand) -> CommandResult {
    let file = match &command {
        ServiceCommand::Up(up) => up.file(),
        _ => None,
    };
    let context = match &command {
        ServiceCommand::Doctor(_) => Context::load_unvalidated(global, file)?,
        _ => Context::load(global, file)?,
    };
    let restriction = match &command {
        ServiceCommand::Serve(serve) => serve.prepare(&context)?,
        _ => Restriction::None,
    };
    let (level, metrics) = (default_level(&command), context.metrics.clone());
    // A server whose actions are to be audited does not start without its audit log.
    let is_server = matches!(command, ServiceCommand::Serve(_) | ServiceCommand::Up(_));
    let started = logging::start(&context.settings().logging, global, level, metrics, is_server)?;
    let (_audit, log_level) = started;
    let threads = worker_threads(&command);
    let command = dispatch(command, &context, restriction, log_level);
    runtime::block_on(global, Builder::new_multi_thread().worker_threads(threads), command)
}

/// A registry uses every processor; other commands start faster with few threads.
fn worker_threads(command: &ServiceCommand) -> usize {
    match command {
        ServiceCommand::Serve(_) => available_parallelism().map_or(2, |it| it.get().max(2)),
        _ => 2,
    }
}

/// The log level without a setting or flag. The output of a server is its log, the output of other
/// commands is their result; `doctor` reports as findings what would be logged as warnings.
fn default_level(command: &ServiceCommand) -> &'static str {
    match command {
        ServiceCommand::Serve(_) | ServiceCommand::Docker(_) => "info",
        ServiceCommand::Doctor(_) => "error",
        _ => "warn",
    }
}

async fn dispatch(
    command: ServiceCommand,
    context: &Context,
    restriction: Restriction,
    log_level: LogLevel,
) -> CommandResult {
    match command {
        ServiceCommand::Up(up) => up.run(context, log_level).await,
        ServiceCommand::Serve(serve) => serve.run(context, restriction, log_level).await,
        ServiceCommand::Run(run) => run.run(context).await,
        ServiceCommand::Render(render) => render.run(context).await,
        ServiceCommand::Docker(docker) => docker.run(context).await,
        ServiceCommand::Compose(compose) => compose.run(context).await,
        #[cfg(feature = "full")]
        ServiceCommand::ComposeHold(hold) => hold.run(context).await,
        ServiceCommand::Exec(exec) => shutdown::or_interrupted(exec.run(context)).await,
        ServiceCommand::Discover(discover) => shutdown::or_interrupted(discover.run(context)).await,
        ServiceCommand::Watch(watch) => watch.run(context).await,
        ServiceCommand::List(list) => list.run(context).await,
        ServiceCommand::Register(register) => register.run(context).await,
        ServiceCommand::Deregister(deregister) => deregister.run(context).await,
        ServiceCommand::Heartbeat(heartbeat) => heartbeat.run(context).await,
        ServiceCommand::Health(health) => health.run(context).await,
        ServiceCommand::Ports(ports) => ports.run(context).await,
        ServiceCommand::Prune(prune) => prune.run(context).await,
        ServiceCommand::Store(store) => store.run(context).await,
        ServiceCommand::Ca(ca) => ca.run(context),
        ServiceCommand::Kubernetes(kubernetes) => kubernetes.run(context),
        ServiceCommand::Token(token) => token.run(context).await,
        ServiceCommand::Doctor(doctor) => doctor.run(context).await,
        ServiceCommand::Announce(announce) => announce.run(context).await,
        ServiceCommand::Listen(listen) => listen.run(context).await,
    }
}

/// Prints a parser's message: help and version on standard output, usage errors on standard error.
fn print_usage(error: &clap::Error) -> Exit {
    // If the output is closed, there is nowhere else to print.
    _ = error.print();
    if !error.use_stderr() {
        return Exit::Done;
    }
    let arguments: Vec<String> =
        std::env::args_os().map(|it| it.to_string_lossy().into_owned()).collect();
    let hint = usage_hint(error, &arguments);
    if let Some(hint) = hint {
        output::note(format_args!("  remedy: {hint}"));
    }
    if is_json_requested(std::env::args_os()) {
        let text = error.render().to_string();
        let message = text.trim().trim_start_matches("error: ");
        let failure = Failure::usage(message);
        print_json_error(&match hint {
            Some(hint) => failure.remedy(hint),
            None => failure,
        });
    }
    Exit::Usage
}

/// Whether `--json` is one of Portolan's own arguments, which end at `--`.
fn is_json_requested(arguments: impl IntoIterator<Item = OsString>) -> bool {
    arguments.into_iter().take_while(|argument| argument != "--").any(|it| it == "--json")
}

fn print_failure(global: &Global, failure: &Failure) -> Exit {
    output::note(failure);
    if global.json {
        print_json_error(failure);
    }
    failure.exit
}

/// Ends the process with a failure, from a place that cannot return it.
#[allow(
    clippy::disallowed_methods,
    reason = "the panic hook has nobody to return it to, and no task runs yet"
)]
fn end_with(global: &Global, failure: &Failure) -> ! {
    let exit = print_failure(global, failure);
    output::background::finish(LAST_OUTPUT);
    std::process::exit(exit.code().into())
}

fn print_json_error(Failure { exit, message, remedy }: &Failure) {
    let error = json!({ "exit": exit.code(), "message": message, "remedy": remedy });
    // If the output is closed, the exit status still reports the failure.
    _ = output::try_line(json!({ "error": error }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_after_double_dash_belongs_to_the_program() {
        let requested = |words: &str| is_json_requested(words.split(' ').map(OsString::from));
        assert!(requested("portolan discovr --json x"));
        assert!(!requested("portolan run --nme x -- jq --json"));
    }
}
