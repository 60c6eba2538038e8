//! The `portolan` command: every service finds a port, and every client finds the service.

mod cli;
mod commands;
mod context;
mod endpoint_args;
mod exit;
mod failures;
mod logging;
mod output;
mod shutdown;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;
use serde_json::json;

use cli::{Cli, Command, Global, Working};
use context::Context;
use exit::{Ending, Exit, Failure};

fn main() -> ExitCode {
    let Cli { global, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error).into(),
    };
    let exit = run(&global, command).unwrap_or_else(|failure| report(&global, &failure));
    exit.into()
}

fn run(global: &Global, command: Command) -> Ending {
    match command {
        Command::Working(command) => work(global, command),
        // These two judge the configuration, or need none, so they must not stumble over it.
        Command::Config(config) => config.run(global),
        Command::Completions(completions) => completions.run(global),
    }
}

fn work(global: &Global, command: Working) -> Ending {
    let file = match &command {
        Working::Up(up) => up.file(),
        _ => None,
    };
    let context = Context::load(global, file)?;
    logging::start(&context.settings().logging, global, usual_level(&command))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format_args!("cannot start: {error}")))?;
    let ending = runtime.block_on(dispatch(command, &context));
    // Whatever still blocks, such as a name that is being resolved, must not hold up the end.
    runtime.shutdown_background();
    ending
}

/// The output of a server is its log, and that of a command its result; the doctor's findings say
/// what the parts would warn of.
fn usual_level(command: &Working) -> &'static str {
    match command {
        Working::Serve(_) => "info",
        Working::Doctor(_) => "error",
        _ => "warn",
    }
}

async fn dispatch(command: Working, context: &Context) -> Ending {
    match command {
        Working::Up(up) => up.run(context).await,
        Working::Serve(serve) => serve.run(context).await,
        Working::Run(run) => run.run(context).await,
        Working::Exec(exec) => exec.run(context).await,
        Working::Discover(discover) => discover.run(context).await,
        Working::Watch(watch) => watch.run(context).await,
        Working::List(list) => list.run(context).await,
        Working::Register(register) => register.run(context).await,
        Working::Deregister(deregister) => deregister.run(context).await,
        Working::Heartbeat(heartbeat) => heartbeat.run(context).await,
        Working::Health(health) => health.run(context).await,
        Working::Ports(ports) => ports.run(context).await,
        Working::Doctor(doctor) => doctor.run(context).await,
        Working::Announce(announce) => announce.run(context).await,
        Working::Listen(listen) => listen.run(context).await,
    }
}

/// Help and version are for standard output; what could not be understood is a failure like others.
fn usage(error: &clap::Error) -> Exit {
    // Where nobody reads it, nobody misses it.
    _ = error.print();
    if !error.use_stderr() {
        return Exit::Done;
    }
    let text = error.render().to_string();
    if asks_for_json(std::env::args_os()) {
        report_json(Exit::Usage, text.trim().trim_start_matches("error: "));
    }
    Exit::Usage
}

/// Whether `--json` stands among the words that are ours: those before `--`.
fn asks_for_json(words: impl IntoIterator<Item = OsString>) -> bool {
    words.into_iter().take_while(|word| word != "--").any(|word| word == "--json")
}

fn report(global: &Global, failure: &Failure) -> Exit {
    output::note(format_args!("error: {}", failure.message));
    if global.json {
        report_json(failure.exit, &failure.message);
    }
    failure.exit
}

fn report_json(exit: Exit, message: &str) {
    // The status tells the rest where even this cannot be printed.
    _ = output::try_line(json!({ "error": { "exit": exit.code(), "message": message } }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_asked_for_before_the_dashes_only() {
        let asks = |words: &str| asks_for_json(words.split(' ').map(OsString::from));
        assert!(asks("portolan discovr --json x"));
        assert!(!asks("portolan run --nme x -- jq --json"));
    }
}
