//! The health monitor: checks instances of services periodically and reports changes of their
//! health.
//!
//! A [`CheckSpec`] defines the check of an instance (`tcp`, `http:/health`, `ttl:15s`), a
//! [`HealthMonitor`] schedules it, and [`HealthState`] derives the health from a sequence of results.
//! Changes are sent to a channel; the crate depends neither on registries nor on agents. A program
//! adds its own checks with [`Check`].

mod check;
mod checks;
mod config;
mod monitor;
mod options;
mod probe;
mod program;
mod reach;
mod refused;
mod results;
mod schedule;
mod spec;
mod state;
mod timing;
mod tls;

pub use check::{Check, CheckInput, CheckKind, CheckParser, Target};
pub use config::HealthConfig;
pub use futures_util::future::BoxFuture;
pub use monitor::{FirstCheck, HealthEvent, HealthMonitor};
pub use options::CheckOptions;
pub use probe::{ProbeOutcome, probe};
pub use program::LocalProgram;
pub use reach::{CheckReach, RegistrantReach};
pub use refused::{is_refused_after_report, refused_after_report};
pub use results::LastResults;
pub use spec::{CheckKinds, CheckSpec, InvalidCheck};
pub use state::{HealthChange, HealthState};
pub use timing::CheckTiming;
