//! The setting `restart` of a service: when its program is started again, and how soon.

mod written;

use std::time::Duration;

use portolan_core::text_enum;

use super::status::InstanceState;

/// The delay before the first restart; it doubles with each one.
const BACKOFF: Duration = Duration::from_millis(500);
/// The maximum delay.
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// A program that has run for this long counts as started: its next restart is the first one again.
const SETTLED: Duration = Duration::from_secs(60);

/// When the program of a service is started again: a policy such as `on-failure` or `on-failure:5`, or a map of its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    /// After which ends it is started again.
    pub policy: RestartPolicy,
    /// The maximum number of restarts in a row; `None` is no limit.
    pub attempts: Option<u32>,
    /// The delay before the first restart, which doubles with each one.
    pub backoff: Duration,
    /// The maximum delay.
    pub max_backoff: Duration,
    /// Whether an instance whose health check is critical is restarted as well, unless the policy is `no`.
    pub unhealthy: bool,
}

/// After which ends a program is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RestartPolicy {
    /// After none.
    #[default]
    No,
    /// After an exit status other than 0, or a signal.
    OnFailure,
    /// After every end.
    Always,
    /// The same: a stack that is stopped stays stopped.
    UnlessStopped,
}

/// Text that is not a restart policy. Permanent: the text must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown restart policy {0}, expected no, on-failure, always or unless-stopped")]
pub struct InvalidPolicy(String);

text_enum! {
    RestartPolicy, InvalidPolicy,
    No => "no",
    OnFailure => "on-failure",
    Always => "always",
    UnlessStopped => "unless-stopped",
}

/// The restarts of one instance.
#[derive(Debug)]
pub(super) struct Restarts {
    restart: Restart,
    /// Since the program last ran for a while.
    made: u32,
}

/// A restart that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NextStart {
    /// The number of the restart, counted from 1.
    pub(super) attempt: u32,
    pub(super) after: Duration,
}

// === impl Restart ===

impl Restart {
    /// Returns whether the program is also started again after it has ended with 0.
    pub fn is_endless(&self) -> bool {
        matches!(self.policy, RestartPolicy::Always | RestartPolicy::UnlessStopped)
    }

    /// Returns whether an instance whose health check is critical is restarted.
    pub(super) fn replaces_unhealthy(&self) -> bool {
        self.unhealthy && self.policy != RestartPolicy::No
    }

    fn applies_to(&self, state: &InstanceState) -> bool {
        match state {
            // Neither a missing program nor a wrong setting heals by itself.
            InstanceState::Failed { code: 2 | 126 | 127, .. } => false,
            _ => match self.policy {
                RestartPolicy::No => false,
                RestartPolicy::OnFailure => state.is_failure(),
                RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
            },
        }
    }
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            policy: RestartPolicy::No,
            attempts: None,
            backoff: BACKOFF,
            max_backoff: MAX_BACKOFF,
            unhealthy: true,
        }
    }
}

// === impl Restarts ===

impl Restarts {
    pub(super) fn new(restart: Restart) -> Self {
        Self { restart, made: 0 }
    }

    /// Returns the next start of a program that has ended so after this time; `None` if it is not started again.
    pub(super) fn next(&mut self, state: &InstanceState, ran: Duration) -> Option<NextStart> {
        if ran >= SETTLED {
            self.made = 0;
        }
        let is_left = self.restart.attempts.is_none_or(|attempts| self.made < attempts);
        if !is_left || !self.restart.applies_to(state) {
            return None;
        }
        let factor = 1_u32.checked_shl(self.made).unwrap_or(u32::MAX);
        let after = self.restart.backoff.saturating_mul(factor).min(self.restart.max_backoff);
        self.made = self.made.saturating_add(1);
        Some(NextStart { attempt: self.made, after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restart(yaml: &str) -> Result<Restart, String> {
        serde_saphyr::from_str(yaml).map_err(|error| error.to_string())
    }

    fn delays(yaml: &str, state: &InstanceState) -> Vec<u128> {
        let mut restarts = Restarts::new(restart(yaml).unwrap());
        let next = std::iter::from_fn(|| restarts.next(state, Duration::ZERO));
        next.take(9).map(|next| next.after.as_millis()).collect()
    }

    const FAILED: InstanceState = InstanceState::Exited { code: 1 };
    const ENDED: InstanceState = InstanceState::Exited { code: 0 };

    #[test]
    fn delay_doubles_up_to_its_maximum() {
        let expected = [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000];
        assert_eq!(delays("on-failure", &FAILED), expected);
        let slow = "{policy: always, backoff: 1s, max_backoff: 3s, attempts: 4}";
        assert_eq!(delays(slow, &FAILED), [1000, 2000, 3000, 3000]);
        let mut restarts = Restarts::new(restart("always").unwrap());
        restarts.made = u32::MAX;
        assert_eq!(restarts.next(&FAILED, Duration::ZERO).unwrap().after, MAX_BACKOFF);
    }

    #[test]
    fn policy_decides_which_ends_are_followed_by_a_start() {
        let missing = InstanceState::Failed { reason: String::new(), code: 127 };
        let no_port = InstanceState::Failed { reason: String::new(), code: 4 };
        for (policy, expected) in [
            ("'no'", [false, false, false, false]),
            ("on-failure", [true, false, false, true]),
            ("always", [true, true, false, true]),
            ("unless-stopped", [true, true, false, true]),
        ] {
            let starts =
                [&FAILED, &ENDED, &missing, &no_port].map(|it| !delays(policy, it).is_empty());
            assert_eq!(starts, expected, "{policy}");
        }
        assert_eq!(delays("on-failure:2", &FAILED).len(), 2);
    }

    #[test]
    fn program_that_has_run_for_a_while_begins_anew() {
        let mut restarts = Restarts::new(restart("on-failure:2").unwrap());
        let mut next = |ran| restarts.next(&FAILED, ran).map(|next| next.attempt);
        assert_eq!(
            [next(Duration::ZERO), next(Duration::ZERO), next(Duration::ZERO)],
            [Some(1), Some(2), None]
        );
        assert_eq!(next(SETTLED), Some(1));
    }

    #[test]
    fn invalid_settings_are_rejected() {
        for (yaml, expected) in [
            ("sometimes", "expected no, on-failure, always or unless-stopped"),
            ("on-failure:0", "expected 1 or more"),
            ("always:3", "unknown restart policy"),
            ("{policy: always, attempts: 0}", "attempts is 0"),
            ("{policy: always, backoff: 0s}", "backoff is 0"),
            ("{attempts: 1}", "a map with policy"),
            ("[always]", "a map with policy"),
        ] {
            let error = restart(yaml).unwrap_err();
            assert!(error.contains(expected), "{yaml}: {error}");
        }
    }
}
