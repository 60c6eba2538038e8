//! Commands that are told of a file.

use std::path::Path;
use std::time::Duration;

use portolan_process::{CommandWords, Finished, run_to_end};
use tokio::time::timeout;

/// The place of the file's path in a command.
pub const FILE: &str = "{file}";

/// Runs a command with the path of a file to its end; returns why it did not end by itself.
pub(crate) async fn run_on(
    words: &CommandWords,
    file: &Path,
    limit: Duration,
) -> Result<Finished, String> {
    let file = file.display().to_string();
    match timeout(limit, run_to_end(words.command(&[(FILE, &file)]))).await {
        Ok(ended) => ended.map_err(|error| error.to_string()),
        Err(_) => Err(format!("it did not end within {} s", limit.as_secs())),
    }
}
