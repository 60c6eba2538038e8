//! The asynchronous runtime of a command.

use tokio::runtime::Builder;

use crate::exit::{CommandResult, Failure};

/// Runs a command to its end.
pub(crate) fn block_on(
    builder: &mut Builder,
    command: impl Future<Output = CommandResult>,
) -> CommandResult {
    let runtime = builder.enable_all().build();
    let runtime = runtime
        .map_err(|error| Failure::failed(format_args!("cannot start the runtime: {error}")))?;
    let result = runtime.block_on(command);
    // A blocking call, such as a host name lookup, must not delay the exit.
    runtime.shutdown_background();
    result
}
