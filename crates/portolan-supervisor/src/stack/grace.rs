//! The settings `grace` and `drain` of a service.

use std::time::Duration;

use portolan_core::parse_duration;
use serde::Deserialize;

/// The time between the stop signal and SIGKILL, written such as `10s`. Default: 4 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Grace(Duration);

// === impl Grace ===

impl Grace {
    pub(super) fn duration(self) -> Duration {
        self.0
    }
}

impl Default for Grace {
    fn default() -> Self {
        Self(super::GRACE)
    }
}

impl TryFrom<String> for Grace {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse_duration(&text).map(Self).map_err(|error| error.to_string())
    }
}

/// The part of the grace period in which callers leave, between the state `draining` and the stop signal. Default: 50 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Drain(Duration);

// === impl Drain ===

impl Drain {
    pub(super) fn duration(self) -> Duration {
        self.0
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self(crate::service::DRAIN)
    }
}

impl TryFrom<String> for Drain {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse_duration(&text).map(Self).map_err(|error| error.to_string())
    }
}
