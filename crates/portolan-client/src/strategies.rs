//! The table of strategies: one file each.

pub(crate) mod broadcast;
pub(crate) mod config_file;
pub(crate) mod default_port;
pub(crate) mod dns;
pub(crate) mod registry;

use crate::strategy::Kind;

/// Asked in this order unless the configuration says otherwise; the first that finds something wins.
pub(crate) static STRATEGIES: [&Kind; 5] =
    [&default_port::KIND, &registry::KIND, &broadcast::KIND, &dns::KIND, &config_file::KIND];

#[cfg(test)]
mod suite;
