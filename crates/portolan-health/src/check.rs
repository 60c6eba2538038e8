//! The extension point for health checks: the trait of a check, and the parser of its text.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use portolan_core::{HealthReport, Host, ServiceEndpoint};
use tokio::time::Instant;

use crate::tls::CheckTls;
use crate::{CheckKinds, CheckOptions, CheckReach, LocalProgram};

/// A health check of one instance of a service.
///
/// A check reports what it observes; [`HealthState`](crate::HealthState) decides what a sequence of
/// reports means. [`HealthMonitor`](crate::HealthMonitor) decides when to run a check, limits how
/// many run at once, and ends one that exceeds `health.timeout`. A check therefore needs neither
/// timeout nor retries.
///
/// ```
/// use futures_util::future::{self, BoxFuture};
/// use portolan_core::{HealthReport, HealthStatus};
/// use portolan_health::{Check, CheckKind, CheckKinds, CheckSpec, Target};
///
/// /// Critical if the spool directory has too many files.
/// #[derive(Debug)]
/// struct Spool(usize);
///
/// impl Check for Spool {
///     fn check<'a>(&'a self, _: &'a Target) -> BoxFuture<'a, HealthReport> {
///         let files = std::fs::read_dir("/var/spool/orders").map_or(0, |files| files.count());
///         let status = match files <= self.0 {
///             true => HealthStatus::Passing,
///             false => HealthStatus::Critical,
///         };
///         Box::pin(future::ready(HealthReport::new(status, format!("{files} files"))))
///     }
/// }
///
/// // Made by the program itself …
/// let check = CheckSpec::new("spool:100", Spool(100));
///
/// // … or parsed from a setting, beside the built-in kinds.
/// let spool = CheckKind {
///     name: "spool",
///     forms: &["spool:FILES"],
///     url_form: None,
///     options: &[],
///     parse: |input| match input.value.unwrap_or_default().parse() {
///         Ok(files) => Ok(std::sync::Arc::new(Spool(files))),
///         Err(_) => Err("the number of files is missing".to_owned()),
///     },
/// };
/// let kinds = CheckKinds::built_in().with(spool);
/// assert_eq!(kinds.parse("spool:100"), Ok(check));
/// ```
pub trait Check: fmt::Debug + Send + Sync {
    /// Runs the check once. The future is dropped if it exceeds `health.timeout`.
    fn check<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, HealthReport>;

    /// Returns the check as a URL with which others can run it for an instance at this host and
    /// port, for an endpoint's `health_url`; `None` if only this process can run it.
    fn health_url(&self, _host: &Host, _port: u16) -> Option<String> {
        None
    }

    /// Returns whether the check connects to a port of the instance, so that it succeeds only once the instance listens.
    fn connects(&self) -> bool {
        self.health_url(&Host::loopback(), 1).is_some()
    }

    /// Returns the time until the next run, or `None` for the monitor's schedule
    /// (`health.interval`).
    fn next_run(&self, _target: &Target) -> Option<Duration> {
        None
    }

    /// Returns whether a single report decides, without `health.failures_before_critical` and
    /// `health.successes_before_passing`.
    fn is_conclusive(&self) -> bool {
        false
    }
}

/// The instance that a check is run against.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Target {
    /// The instance. Its health is what was known when the monitor began to watch it.
    pub endpoint: ServiceEndpoint,
    /// When the monitor began to watch it.
    pub watched_since: Instant,
    /// When it last reported to this monitor by itself.
    pub last_report: Option<Instant>,
    /// Its program, if it runs on this host and its agent started it.
    pub(crate) program: Option<LocalProgram>,
    /// Where the check may connect to.
    pub(crate) reach: CheckReach,
    /// The authorities that it trusts.
    #[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "no check uses TLS in this build"))]
    pub(crate) tls: Arc<CheckTls>,
}

/// Parses a check of a kind. The error says what is wrong with the text, as in `the port is missing`.
pub type CheckParser = fn(&mut CheckInput<'_>) -> Result<Arc<dyn Check>, String>;

/// What the parser of a kind gets.
#[derive(Debug)]
#[non_exhaustive]
pub struct CheckInput<'a> {
    /// The text after the kind's name and colon, if there is one.
    pub value: Option<&'a str>,
    /// The options. The parser takes its own; those that nobody takes are an error.
    pub options: &'a mut CheckOptions,
    /// The kinds that can be a part of this check.
    pub kinds: &'a CheckKinds,
}

/// A kind of health check: its name, its forms and its parser.
#[derive(Debug, Clone, Copy)]
pub struct CheckKind {
    /// The text before the first colon, which is also the scheme of its `health_url`.
    pub name: &'static str,
    /// The forms that are shown in help and errors. A kind without forms is not shown.
    pub forms: &'static [&'static str],
    /// The form of its `health_url`, if others can run the check.
    pub url_form: Option<&'static str>,
    /// The options of its own, beside those that every kind has.
    pub options: &'static [&'static str],
    /// Parses a check of this kind.
    pub parse: CheckParser,
}

// === impl Target ===

impl Target {
    /// Creates a target that is watched from now on and has not reported yet.
    pub fn new(endpoint: ServiceEndpoint) -> Self {
        Self::within(endpoint, CheckReach::Anywhere, Arc::default())
    }

    /// Creates a target whose checks connect within this reach only.
    pub(crate) fn within(endpoint: ServiceEndpoint, reach: CheckReach, tls: Arc<CheckTls>) -> Self {
        let watched_since = Instant::now();
        Self { endpoint, watched_since, last_report: None, program: None, reach, tls }
    }
}
