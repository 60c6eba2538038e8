//! The asynchronous runtime of a command.

use std::panic;

use tokio::runtime::{Builder, Runtime};
use tokio::task::spawn_blocking;

use crate::exit::{CommandResult, Failure};
use crate::global::Global;

/// Runs a command to its end.
pub(crate) fn block_on(
    global: &Global,
    builder: &mut Builder,
    command: impl Future<Output = CommandResult>,
) -> CommandResult {
    let runtime = build(global, builder)?;
    let result = runtime.block_on(command);
    // A blocking call, such as a host name lookup, must not delay the exit.
    runtime.shutdown_background();
    result
}

/// Tokio panics if it can start no thread, or open no descriptor for signals. The process then ends in the panic hook, because unwinding
/// would wait for the threads that were started.
fn build(global: &Global, builder: &mut Builder) -> Result<Runtime, Failure> {
    let (hook, global) = (panic::take_hook(), global.clone());
    panic::set_hook(Box::new(move |panicked| {
        let reason = panicked.payload_as_str().unwrap_or("unknown reason");
        crate::end_with(&global, &cannot_start(reason));
    }));
    let runtime = builder.enable_all().build();
    if let Ok(runtime) = &runtime {
        // The first blocking call, such as a host name lookup, finds the thread that this one has started.
        _ = runtime.block_on(async { spawn_blocking(|| ()).await });
    }
    panic::set_hook(hook);
    runtime.map_err(|error| cannot_start(&error.to_string()))
}

fn cannot_start(reason: &str) -> Failure {
    Failure::failed(format_args!("cannot start the runtime: {reason}")).remedy(
        "raise the limits of open files and processes (`ulimit -n`, `ulimit -u`), or end other processes",
    )
}
