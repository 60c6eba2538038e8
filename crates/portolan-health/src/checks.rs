//! The kinds of check. A new one is a file here, a row in [`KINDS`] and a `mod` line.

mod http;
mod tcp;
mod ttl;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use portolan_core::{HealthReport, Host, ServiceEndpoint};
use tokio::time::Instant;

use crate::InvalidCheck;

/// A kind of check: what it is called, how it is written, and how it is read.
#[derive(Debug)]
pub(crate) struct Kind {
    /// What stands before the first colon.
    pub(crate) name: &'static str,
    /// How it is written, for help and errors.
    pub(crate) forms: &'static [&'static str],
    /// Reads what stands behind the first colon, where there is one.
    pub(crate) parse: fn(Option<&str>) -> Parsed,
}

/// A check that was read, or why it was not.
pub(crate) type Parsed = Result<Arc<dyn Check>, InvalidCheck>;

/// Every kind of check, in the order in which help and errors list them.
pub(crate) const KINDS: [Kind; 3] = [tcp::KIND, http::KIND, ttl::KIND];

/// One look at an instance. It reports what it finds, and decides nothing.
pub(crate) trait Check: fmt::Debug + Send + Sync {
    /// Looks once. May take for ever: the monitor sets the limit.
    fn look<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, HealthReport>;

    /// The check as a URL that others can use.
    fn url(&self, host: &Host, port: u16) -> Option<String>;

    /// How long to wait from now to the next look, where that is not the monitor's to say.
    fn wait(&self, _subject: &Subject) -> Option<Duration> {
        None
    }

    /// Whether one finding is proof, and need not be found again.
    fn is_proof(&self) -> bool {
        false
    }
}

/// What is looked at.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) endpoint: ServiceEndpoint,
    /// Since when the monitor watches it.
    pub(crate) since: Instant,
    /// When it last reported by itself.
    pub(crate) reported: Option<Instant>,
}
