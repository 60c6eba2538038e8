//! The TTL check: passing while the instance reports within every period, as in Consul.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};
use portolan_core::duration::format_duration;
use portolan_core::{HealthReport, HealthStatus, Ttl as Period};
use tokio::time::Instant;

use crate::{Check, CheckInput, CheckKind, Target};

pub(super) const KIND: CheckKind =
    CheckKind { name: "ttl", forms: &["ttl:15s"], url_form: None, options: &[], parse };

/// Expects a report within every period.
#[derive(Debug)]
struct Ttl {
    period: Duration,
}

fn parse(input: &mut CheckInput<'_>) -> Result<Arc<dyn Check>, String> {
    let period: Period =
        input.value.unwrap_or_default().parse().map_err(|error| format!("{error}"))?;
    Ok(Arc::new(Ttl { period: period.duration() }))
}

impl Check for Ttl {
    fn check<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, HealthReport> {
        future::ready(self.report(target)).boxed()
    }

    fn next_run(&self, target: &Target) -> Option<Duration> {
        // A report ends this wait early; without one nothing changes before the period ends.
        let left = (last_report(target) + self.period).duration_since(Instant::now());
        Some(if left.is_zero() { self.period } else { left })
    }

    fn is_conclusive(&self) -> bool {
        true
    }
}

impl Ttl {
    fn report(&self, target: &Target) -> HealthReport {
        let period = format_duration(self.period);
        if last_report(target).elapsed() >= self.period {
            return HealthReport::new(HealthStatus::Critical, format!("no report within {period}"));
        }
        match target.last_report {
            Some(_) => {
                HealthReport::new(HealthStatus::Passing, format!("reported within {period}"))
            }
            None => HealthReport::default(),
        }
    }
}

fn last_report(target: &Target) -> Instant {
    target.last_report.unwrap_or(target.watched_since)
}
