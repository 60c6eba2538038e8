//! The health monitor: when to check an instance, how, and what the findings mean.
//!
//! A [`CheckSpec`] says how (`tcp`, `http:/health`, `ttl:15s`); a [`HealthMonitor`] decides when;
//! [`HealthState`] decides what a run of findings means. Whoever wants to know reads the reports
//! from a channel: registries, agents and their protocols are not known here.

mod checks;
mod config;
mod monitor;
mod pace;
mod spec;
mod state;

pub use config::HealthConfig;
pub use monitor::HealthMonitor;
pub use spec::{CheckSpec, InvalidCheck};
pub use state::{HealthChange, HealthState};
