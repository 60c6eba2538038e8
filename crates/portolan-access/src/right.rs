//! The rights.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a client may do, with the services of a rule if nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Right {
    /// Look instances and the settings of services up.
    Read,
    /// Follow the changes of instances and of the settings of services.
    Watch,
    /// Register, change and deregister instances.
    Register,
    /// Renew the leases of instances, and report their health.
    Heartbeat,
    /// Change the settings of services.
    Configure,
    /// Read the metrics of the server, which name every service.
    Metrics,
    /// Everything, with every service.
    Administer,
}

// === impl Right ===

impl Right {
    /// Every right.
    pub const ALL: [Self; 7] = [
        Self::Read,
        Self::Watch,
        Self::Register,
        Self::Heartbeat,
        Self::Configure,
        Self::Metrics,
        Self::Administer,
    ];

    /// Returns the right as policies name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Watch => "watch",
            Self::Register => "register",
            Self::Heartbeat => "heartbeat",
            Self::Configure => "configure",
            Self::Metrics => "metrics",
            Self::Administer => "administer",
        }
    }

    /// Whether the right concerns the services of its rule, and not the server as a whole.
    pub(crate) fn concerns_services(self) -> bool {
        !matches!(self, Self::Metrics | Self::Administer)
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_have_one_name() {
        for right in Right::ALL {
            assert_eq!(serde_json::json!(right), right.as_str());
        }
    }
}
