//! The table of built-in strategies: one file and one row each.

pub(crate) mod broadcast;
pub(crate) mod config_file;
pub(crate) mod default_port;
pub(crate) mod dns;
pub(crate) mod kubernetes;
pub(crate) mod registry;

use crate::deps::Builtin;

/// The built-in strategies in their default order, in which `kubernetes` is in a pod only. The first that finds an instance
/// wins.
pub(crate) static STRATEGIES: [&Builtin; 6] = [
    &default_port::STRATEGY,
    &registry::STRATEGY,
    &kubernetes::STRATEGY,
    &broadcast::STRATEGY,
    &dns::STRATEGY,
    &config_file::STRATEGY,
];

#[cfg(test)]
mod suite;
