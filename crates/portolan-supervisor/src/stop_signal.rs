//! The signal that asks a program to end.

use std::fmt;
use std::str::FromStr;

use rustix::process::Signal;
use serde::Deserialize;

/// A signal that asks a program to end, such as `SIGTERM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct StopSignal(Signal);

/// Text that is not a stop signal. Permanent: the text must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown stop signal {0:?}, expected one of {known}", known = known())]
pub struct InvalidStopSignal(String);

/// The signals that programs use for this purpose. SIGKILL follows at the end of the grace period.
const SIGNALS: [(&str, Signal); 8] = [
    ("TERM", Signal::TERM),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("HUP", Signal::HUP),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("WINCH", Signal::WINCH),
    ("KILL", Signal::KILL),
];

fn known() -> String {
    SIGNALS.map(|(name, _)| format!("SIG{name}")).join(", ")
}

// === impl StopSignal ===

impl StopSignal {
    /// The signal that most programs end at.
    pub const TERM: Self = Self(Signal::TERM);
    /// Ends a program at once, without a chance to save its data.
    pub(crate) const KILL: Self = Self(Signal::KILL);
    /// Ends PostgreSQL without waiting for its clients.
    pub const INT: Self = Self(Signal::INT);
    /// Ends nginx after its requests.
    pub(crate) const QUIT: Self = Self(Signal::QUIT);

    /// Returns the signal.
    pub fn signal(self) -> Signal {
        self.0
    }
}

impl FromStr for StopSignal {
    type Err = InvalidStopSignal;

    /// Accepts the name with or without `SIG`.
    fn from_str(text: &str) -> Result<Self, InvalidStopSignal> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let found = SIGNALS.iter().find(|(known, _)| *known == name);
        found.map(|(_, signal)| Self(*signal)).ok_or_else(|| InvalidStopSignal(text.to_owned()))
    }
}

impl TryFrom<String> for StopSignal {
    type Error = InvalidStopSignal;

    fn try_from(text: String) -> Result<Self, InvalidStopSignal> {
        text.parse()
    }
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = SIGNALS.iter().find(|(_, signal)| *signal == self.0).map(|(name, _)| *name);
        write!(f, "SIG{}", name.unwrap_or("TERM"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signal_is_named_with_or_without_its_prefix() {
        for text in ["SIGQUIT", "quit", "Sigquit"] {
            assert_eq!(text.parse(), Ok(StopSignal::QUIT), "{text}");
        }
        assert_eq!(StopSignal::INT.to_string(), "SIGINT");
        let error = "SIGSTOP".parse::<StopSignal>().unwrap_err().to_string();
        assert!(error.contains("\"SIGSTOP\"") && error.contains("SIGTERM, SIGINT"), "{error}");
    }
}
