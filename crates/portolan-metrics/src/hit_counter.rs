//! The counter of the cache hits of one service, found once for many lookups.

use std::fmt;
use std::sync::atomic::Ordering;

use prometheus_client::metrics::counter::Counter;

use crate::Metrics;
use crate::names::Claim;

/// Counts cache hits of a service, as [`Metrics::cache_hit`] does, without a lock or an allocation.
#[derive(Clone)]
pub struct HitCounter {
    metrics: Metrics,
    count: Counter,
    /// How many labels services had lost when the counter was found.
    lost: u64,
}

// === impl Metrics ===

impl Metrics {
    /// Returns what counts the cache hits of a service.
    pub fn hit_counter(&self, service: &str) -> HitCounter {
        let lost = self.0.lost_labels.load(Ordering::Acquire);
        let mut found = None;
        self.with_service(service, Claim::Own, |families, service| {
            found = Some(families.cache_hits.get_or_create(&service).clone());
        });
        let count = found.expect("each name has a label");
        HitCounter { metrics: self.clone(), count, lost }
    }
}

// === impl HitCounter ===

impl HitCounter {
    /// Counts a hit for this service, which is the one that the counter was found for.
    #[inline]
    pub fn record(&self, service: &str) {
        // The counter may be that of a label that another service has by now.
        if self.metrics.0.lost_labels.load(Ordering::Acquire) != self.lost {
            return self.metrics.cache_hit(service);
        }
        self.count.inc();
    }
}

impl fmt::Debug for HitCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HitCounter").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::MAX_SERVICE_NAMES;

    fn hits(metrics: &Metrics, service: &str) -> Option<u64> {
        let line = format!("discovery_cache_hits_total{{service_name=\"{service}\"}} ");
        metrics.encode().lines().find_map(|it| it.strip_prefix(&line)?.parse().ok())
    }

    #[tokio::test(start_paused = true)]
    async fn hits_are_counted_also_after_the_label_has_passed_to_another_service() {
        let metrics = Metrics::new();
        let counter = metrics.hit_counter("api");
        counter.record("api");
        metrics.cache_hit("api");
        assert_eq!(hits(&metrics, "api"), Some(2));
        tokio::time::advance(Duration::from_secs(3600)).await;
        (0..MAX_SERVICE_NAMES).for_each(|number| metrics.cache_miss(&format!("s-{number}")));
        assert_eq!(hits(&metrics, "api"), None);
        counter.record("api");
        assert_eq!(hits(&metrics, "_other"), Some(1));
    }
}
