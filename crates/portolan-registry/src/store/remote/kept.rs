//! Instances that are kept although their leases ended, because too many ended at once (`store/mass_expiry.rs`).

use std::time::Duration;

use jiff::Timestamp;
use portolan_core::{HealthReport, HealthStatus, ServiceEndpoint, ServiceId};
use serde::{Deserialize, Serialize};

use super::Timers;
use crate::store::decide::Put;
use crate::store::mass_expiry::{Kept, MassExpiry};
use crate::{Command, MassExpiryConfig};

/// What the value of an instance's key says while it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeptValue {
    /// Until when it is kept.
    pub(crate) until: Timestamp,
    /// Its health before, which its next heartbeat restores; absent if it was reported since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) health: Option<HealthReport>,
}

/// Whether an instance whose lease ended is kept, by the leases that this server ends. `lookup` returns an instance, and
/// whether it is kept already.
pub(crate) fn keeps<'a>(
    mass_expiry: &mut MassExpiry,
    timers: &Timers,
    endpoint: &ServiceEndpoint,
    lookup: impl Fn(&ServiceId) -> Option<(&'a ServiceEndpoint, bool)>,
) -> Option<Kept> {
    let lease = |(id, left)| {
        let (endpoint, is_kept) = lookup(id)?;
        Some((endpoint, if is_kept { Duration::ZERO } else { left }))
    };
    mass_expiry.keeps(endpoint, || timers.all().filter_map(&lease))
}

// === impl KeptValue ===

impl KeptValue {
    /// The endpoint as it is while it is kept: its health says why.
    pub(crate) fn mark(endpoint: &ServiceEndpoint, kept: Kept) -> (ServiceEndpoint, Self) {
        let health = HealthReport::new(endpoint.health, endpoint.health_reason.as_str());
        let until = Timestamp::now().checked_add(kept.keep).unwrap_or(Timestamp::MAX);
        let mut endpoint = endpoint.clone();
        (endpoint.health, endpoint.health_reason) = (HealthStatus::Unknown, kept.reason);
        (endpoint, Self { until, health: Some(health) })
    }

    /// What is left of the time; `None` if it is over.
    pub(crate) fn left(&self) -> Option<Duration> {
        let left = Duration::try_from(self.until.duration_since(Timestamp::now())).ok();
        // Any client of the cluster can write the value.
        left.filter(|left| !left.is_zero()).map(|left| left.min(MassExpiryConfig::LONGEST))
    }

    /// After a health report, which changes nothing about the lease.
    pub(crate) fn reported(&self) -> Self {
        Self { until: self.until, health: None }
    }

    /// Restores the health of an instance that is kept, with a command that renews its lease. Returns whether it is one.
    pub(crate) fn restore(
        kept: Option<&Self>,
        endpoint: &ServiceEndpoint,
        put: &mut Put,
        command: &Command,
    ) -> bool {
        let Some(kept) = kept.filter(|_| command.renews_lease()) else { return false };
        if let Some(before) = &kept.health {
            put.restore_health(endpoint, before);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_is_left_is_bounded() {
        let after = |seconds: i64| {
            let until = Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
            KeptValue { until, health: None }.left()
        };
        assert_eq!(after(-1), None);
        assert!(after(60).is_some_and(|left| left <= Duration::from_secs(60)));
        assert_eq!(after(1_000_000), Some(MassExpiryConfig::LONGEST));
        let never = KeptValue { until: Timestamp::MAX, health: None };
        assert_eq!(never.left(), Some(MassExpiryConfig::LONGEST));
    }
}
