//! The lowest product of latency and pending requests.

use tokio::time::Instant;

use crate::instances::Instance;

use super::lowest;

/// The latency of an instance that is not measured yet but has a request pending: above every real one, so that one request at
/// a time measures it.
const UNMEASURED_SECONDS: f64 = 3600.0;

pub(super) fn select(instances: &[&Instance]) -> Option<usize> {
    let now = Instant::now();
    lowest(instances, |instance| cost(instance, now))
}

fn cost(instance: &Instance, now: Instant) -> f64 {
    let pending = instance.load.pending();
    match instance.load.latency(now) {
        Some(latency) => latency.as_secs_f64() * (pending + 1) as f64,
        None if pending == 0 => 0.0,
        None => UNMEASURED_SECONDS * pending as f64,
    }
}
