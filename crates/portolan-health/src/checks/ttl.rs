//! Whether the service itself reports often enough.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};
use portolan_core::duration::format_duration;
use portolan_core::{HealthReport, HealthStatus, Host, Ttl as Span};
use tokio::time::Instant;

use super::{Check, Kind, Parsed, Subject};
use crate::InvalidCheck;
use crate::spec::short;

pub(super) const KIND: Kind = Kind { name: "ttl", forms: &["ttl:15s"], parse };

/// Expects a report within every span.
#[derive(Debug)]
struct Ttl {
    span: Duration,
}

fn parse(rest: Option<&str>) -> Parsed {
    let rest = rest.unwrap_or_default();
    let span: Span = rest.parse().map_err(|source| {
        let text = short(&format!("ttl:{rest}"));
        InvalidCheck::NotASpan { text, source }
    })?;
    Ok(Arc::new(Ttl { span: span.duration() }))
}

impl Check for Ttl {
    fn look<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, HealthReport> {
        future::ready(self.find(subject)).boxed()
    }

    fn url(&self, _: &Host, _: u16) -> Option<String> {
        None
    }

    fn wait(&self, subject: &Subject) -> Option<Duration> {
        // Long waits that a report cuts short: there is nothing to see before the span ends.
        let left = (self.last_sign(subject) + self.span).duration_since(Instant::now());
        Some(if left.is_zero() { self.span } else { left })
    }

    fn is_proof(&self) -> bool {
        true
    }
}

impl Ttl {
    fn find(&self, subject: &Subject) -> HealthReport {
        let span = format_duration(self.span);
        if self.last_sign(subject).elapsed() >= self.span {
            return HealthReport::new(HealthStatus::Critical, format!("no report within {span}"));
        }
        match subject.reported {
            Some(_) => HealthReport::new(HealthStatus::Passing, format!("reported within {span}")),
            None => HealthReport::default(),
        }
    }

    fn last_sign(&self, subject: &Subject) -> Instant {
        subject.reported.unwrap_or(subject.since)
    }
}
