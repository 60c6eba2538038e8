//! The resources of the API, one file each.

pub(crate) mod batch;
pub(crate) mod caller;
pub(crate) mod check;
pub(crate) mod checks;
pub(crate) mod config;
pub(crate) mod currency;
pub(crate) mod health;
pub(crate) mod heartbeat;
pub(crate) mod id;
pub(crate) mod page;
pub(crate) mod server;
pub(crate) mod servers;
pub(crate) mod services;
pub(crate) mod session;
pub(crate) mod settings;
pub(crate) mod watch;
