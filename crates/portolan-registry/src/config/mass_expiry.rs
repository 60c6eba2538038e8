//! The settings of the protection against a mass expiry: section `service_registry.mass_expiry`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::InvalidRegistryConfig;

/// When instances are kept although their leases ended: if so many end at once that the network, or what renews them, is
/// more likely the cause than the instances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MassExpiryConfig {
    /// The share of a service's instances, or of all, from 0 to 1: instances are kept if more than this share would
    /// expire at once. Default 0.5: a rack or a release that fails is dropped, a network that fails is not.
    pub share: f64,
    /// The smallest number of instances that would expire at once for which any is kept, at least 2. Default 10: the stack of
    /// a developer, or a service with a few instances, is dropped on time.
    pub instances: usize,
    /// How long they are kept, up to 30 minutes; `0s` turns the protection off. Default 5 minutes: a switch that restarts
    /// or a failover is over, and the dead do not stay for hours.
    #[serde(with = "portolan_core::duration::text")]
    pub keep: Duration,
}

// === impl MassExpiryConfig ===

impl MassExpiryConfig {
    /// The longest `keep`: etcd ends a lease by itself an hour after its TTL.
    pub(crate) const LONGEST: Duration = Duration::from_secs(30 * 60);

    pub(super) fn validate(&self) -> Result<(), InvalidRegistryConfig> {
        let invalid =
            |key, problem: String| Err(InvalidRegistryConfig::MassExpiry { key, problem });
        if !(0.0..=1.0).contains(&self.share) {
            return invalid("share", format!("{} is out of bounds, expected 0 to 1", self.share));
        }
        if self.instances < 2 {
            let problem = format!("{} is too small, expected at least 2", self.instances);
            return invalid("instances", problem);
        }
        if self.keep > Self::LONGEST {
            let keep = portolan_core::duration::format_duration(self.keep);
            return invalid("keep", format!("{keep} is too long, expected 0s to 30m"));
        }
        Ok(())
    }
}

impl Default for MassExpiryConfig {
    fn default() -> Self {
        Self { share: 0.5, instances: 10, keep: Duration::from_secs(300) }
    }
}
