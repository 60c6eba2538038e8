//! The commands, one file each.

pub(crate) mod announce;
pub(crate) mod audit;
pub(crate) mod ca;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod deregister;
pub(crate) mod discover;
pub(crate) mod docker;
pub(crate) mod doctor;
pub(crate) mod exec;
pub(crate) mod health;
pub(crate) mod heartbeat;
pub(crate) mod kubernetes;
pub(crate) mod list;
pub(crate) mod listen;
pub(crate) mod ports;
pub(crate) mod register;
pub(crate) mod render;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod shim;
pub(crate) mod store;
pub(crate) mod token;
pub(crate) mod trust;
pub(crate) mod up;
pub(crate) mod watch;
