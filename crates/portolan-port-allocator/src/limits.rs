//! Quotas and rate limits as settings.

use std::num::NonZeroU32;

use portolan_reservations::Quota;
use serde::{Deserialize, Serialize};

/// A limit for each service and one for the user; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortLimits {
    /// For one service in one scope.
    pub per_service: Option<NonZeroU32>,
    /// For all services of the user in this network namespace.
    pub per_user: Option<NonZeroU32>,
}

// === impl PortLimits ===

impl PortLimits {
    /// These limits; 0 is no limit.
    pub const fn new(per_service: u32, per_user: u32) -> Self {
        Self { per_service: NonZeroU32::new(per_service), per_user: NonZeroU32::new(per_user) }
    }

    /// Returns the limits as the quota of the reservation table.
    pub(crate) fn quota(self) -> Quota {
        let [per_service, per_user] = [self.per_service, self.per_user].map(|it| it.map(u32::from));
        Quota { per_service, per_user }
    }
}
