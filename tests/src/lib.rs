//! What the end-to-end tests start and ask: the built `portolan` command, real PostgreSQL, Redis
//! and DNS servers, and strangers that hold a port.
//!
//! A test runs inside [`isolated`], which gives it a network of its own where the system can, so
//! that ports such as 5432 and the multicast group belong to it alone. A program that is missing
//! fails the test with the command that installs it: a test that quietly does nothing proves
//! nothing.

// A failed test shows what its programs wrote, through the test harness's own capture.
#![allow(clippy::print_stdout, reason = "the harness shows it where a test fails")]

mod boot;
mod calls;
pub mod dns;
pub mod http;
mod isolation;
pub mod metrics;
mod parts;
pub mod port;
pub mod postgres;
mod process;
mod proxy;
pub mod redis;
pub mod servers;
mod stranger;
mod system;
mod wait;
mod world;

pub use boot::Boot;
pub use calls::{BRIEFLY, Call};
pub use isolation::isolated;
pub use process::{Output, Process};
pub use proxy::Proxy;
pub use stranger::Stranger;
pub use wait::{PATIENCE, wait_for, wait_within};
pub use world::{REGISTRY, World, portolan_program, target_directory};
