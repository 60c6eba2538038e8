//! Waits by asking, never by guessing how long something takes.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How long anything may take that no promise of Portolan bounds: a server's start on a machine
/// that does much else at the same time.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// How long to let pass between two questions.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Asks until there is an answer, for as long as [`TIMEOUT`] lasts.
///
/// # Errors
/// The last reason why there was none.
pub fn wait_for<T>(what: &str, ask: impl FnMut() -> Result<T>) -> Result<T> {
    wait_within(TIMEOUT, what, ask)
}

/// Asks until there is an answer, at least once and no longer than `limit`.
///
/// # Errors
/// The last reason why there was none.
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
        let error = wait_within(Duration::ZERO, "the moon", || {
            anyhow::bail!("clouds");
            #[expect(unreachable_code, reason = "says what type the answer would have")]
            Ok(())
        });
        assert_eq!(format!("{:#}", error.unwrap_err()), "the moon: not within 0ns: clouds");
    }
}
