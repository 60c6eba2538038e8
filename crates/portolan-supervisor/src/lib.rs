//! Runs programs as services: a port before they start, a registration while they live, and
//! nothing left behind when they end.
//!
//! [`service`] is the life of one program, [`stack`] that of several which need one another. The
//! rest are their parts: what to start ([`command`], [`placeholders`]), how it gets its port
//! ([`handoff`]), and the process itself ([`child`]).

pub mod child;
pub mod command;
pub mod handoff;
pub mod placeholders;
pub mod service;
pub mod stack;
#[cfg(test)]
mod testing;

pub use command::CommandLine;
pub use handoff::Handoff;
pub use service::{Parts, Service, ServiceSpec, StartError};
