//! Runs programs as services: leases a port before the program starts, registers the service while
//! it runs, and releases everything when it has exited.
//!
//! [`service`] runs one program, [`stack`] runs several that need each other. [`command`] and
//! [`placeholders`] describe the program, [`handoff`] decides how it gets its port, and [`child`]
//! is the process.

mod account;
pub mod child;
pub mod command;
pub mod handoff;
pub mod leftovers;
pub mod placeholders;
pub mod port_argument;
pub mod service;
pub mod shim;
pub mod stack;
mod stop_signal;
#[cfg(test)]
mod test_env;

pub use account::{Account, InvalidAccount};
pub use command::CommandLine;
pub use handoff::Handoff;
pub use service::{Service, ServiceDeps, ServiceSpec, StartError};
pub use stop_signal::{InvalidStopSignal, StopSignal};
