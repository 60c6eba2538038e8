//! The counters of the lookups of one service, found once for many lookups.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use crate::labels::{Lookup, Service};
use crate::names::Claim;
use crate::{Metrics, OperationResult};

/// Counts lookups of a service that have this result, as [`Metrics::service_lookup`] does, in a fraction of its time.
pub struct LookupCounter {
    metrics: Metrics,
    service: String,
    result: OperationResult,
    count: Counter,
    duration: Histogram,
    /// How many labels services had lost when the counters were found.
    lost: u64,
}

// === impl Metrics ===

impl Metrics {
    /// Returns what counts the lookups of a service.
    pub fn lookup_counter(&self, service: &str, result: OperationResult) -> LookupCounter {
        let lost = self.0.lost_labels.load(Ordering::Acquire);
        let mut found = None;
        self.with_service(service, Claim::of_lookup(result), |families, service| {
            let Service { service_name } = service.clone();
            let count = families.lookups.get_or_create(&Lookup { service_name, result }).clone();
            found = Some((count, families.lookup_duration.get_or_create(&service).clone()));
        });
        let (count, duration) = found.expect("each name has a label");
        LookupCounter {
            metrics: self.clone(),
            service: service.to_owned(),
            result,
            count,
            duration,
            lost,
        }
    }
}

// === impl LookupCounter ===

impl LookupCounter {
    /// Counts a lookup.
    pub fn record(&self, took: Duration) {
        // The counters may be those of a label that another service has by now.
        if self.metrics.0.lost_labels.load(Ordering::Acquire) != self.lost {
            return self.metrics.service_lookup(&self.service, self.result, took);
        }
        self.count.inc();
        self.duration.observe(took.as_secs_f64());
    }
}

impl fmt::Debug for LookupCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LookupCounter").field("service", &self.service).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MAX_SERVICE_NAMES;

    fn lookups(metrics: &Metrics, service: &str) -> Option<u64> {
        let line = format!(
            "discovery_service_lookups_total{{service_name=\"{service}\",result=\"success\"}} "
        );
        metrics.encode().lines().find_map(|it| it.strip_prefix(&line)?.parse().ok())
    }

    #[tokio::test(start_paused = true)]
    async fn lookups_are_counted_also_after_the_label_has_passed_to_another_service() {
        let metrics = Metrics::new();
        let counter = metrics.lookup_counter("api", OperationResult::Success);
        counter.record(Duration::ZERO);
        metrics.service_lookup("api", OperationResult::Success, Duration::ZERO);
        assert_eq!(lookups(&metrics, "api"), Some(2));
        tokio::time::advance(Duration::from_secs(3600)).await;
        (0..MAX_SERVICE_NAMES)
            .for_each(|number| metrics.service_registered(&format!("s-{number}")));
        assert_eq!(lookups(&metrics, "api"), None);
        let shared = lookups(&metrics, "_other").unwrap_or(0);
        counter.record(Duration::ZERO);
        assert_eq!(lookups(&metrics, "_other"), Some(shared + 1));
    }
}
