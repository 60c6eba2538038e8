//! Waits by polling a condition, never by sleeping for a guessed time.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// The timeout for everything without a documented bound, such as a server's start on a busy
/// machine.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// The time between two polls.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Polls until the condition succeeds, at most for [`TIMEOUT`].
///
/// # Errors
/// The condition's last error.
pub fn wait_for<T>(what: &str, ask: impl FnMut() -> Result<T>) -> Result<T> {
    wait_within(TIMEOUT, what, ask)
}

/// Polls until the condition succeeds, at least once and at most for `limit`.
///
/// # Errors
/// The condition's last error.
pub fn wait_within<T>(
    limit: Duration,
    what: &str,
    mut ask: impl FnMut() -> Result<T>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(error) if started.elapsed() >= limit => {
                return Err(error).with_context(|| format!("{what}: not within {limit:?}"));
            }
            Err(_) => sleep(POLL_INTERVAL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_polls_until_success() {
        let mut left = 3;
        let answer = wait_for("the third answer", || {
            left -= 1;
            anyhow::ensure!(left == 0, "{left} left");
            Ok("here")
        });
        assert_eq!(answer.unwrap(), "here");
    }

    #[test]
    fn timeout_reports_the_last_error() {
        let error = wait_within(Duration::ZERO, "the server", || {
            anyhow::bail!("refused");
            #[expect(unreachable_code, reason = "determines the type of the closure")]
            Ok(())
        });
        assert_eq!(format!("{:#}", error.unwrap_err()), "the server: not within 0ns: refused");
    }
}
