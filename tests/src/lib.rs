//! The harness of the end-to-end tests: the built `portolan` command, real PostgreSQL, Redis and
//! DNS servers, and foreign listeners.
//!
//! A test runs inside [`isolated`], which gives it its own network namespace if the system allows,
//! so that ports such as 5432 and the multicast group belong to the test alone. A missing program
//! fails the test with the command that installs it; no test is skipped.

// A failed test prints its programs' output, which the test runner captures.
#![allow(clippy::print_stdout, reason = "the test runner shows the output of a failed test")]
#![allow(clippy::disallowed_methods, reason = "no async runtime, so no paused clock")]

mod command;
pub mod consul;
pub mod dns;
pub mod docker;
mod env;
pub mod etcd;
mod faults;
mod foreign_listener;
pub mod frameworks;
pub mod helm;
mod hosts;
pub mod http;
mod isolation;
pub mod kubernetes;
pub mod metrics;
pub mod port;
pub mod postgres;
mod process;
mod programs;
mod proxy;
pub mod redis;
pub mod schemathesis;
pub mod servers;
mod simulated_boot;
mod store;
mod system;
mod terminal;
mod wait;

pub use command::{PortolanCommand, SHORT_BROADCAST_WAIT};
pub use env::{REGISTRY, TestEnv, portolan_program, target_directory};
pub use foreign_listener::ForeignListener;
pub use hosts::Host;
pub use isolation::{isolated, over_each_store};
pub use process::{Output, Process};
pub use proxy::Proxy;
pub use simulated_boot::SimulatedBoot;
pub use terminal::Terminal;
pub use wait::{TIMEOUT, wait_for, wait_within};
