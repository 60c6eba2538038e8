//! The audit log: who did what to which object, what it was before and after, and with which outcome.
//!
//! Components emit `tracing` events with the target [`TARGET`]. [`start`] returns a layer that turns each of them, with the fields
//! of the request that caused it, into a record, and a background thread that chains the records by SHA-256 and writes
//! them to a sink. [`verify`] finds a record that was removed, changed or moved.
//!
//! Text from outside is in JSON strings, and everything but printable ASCII is escaped. Recording never blocks: if the queue
//! is full, records are dropped, counted, and reported in a record of their own.

mod chain;
mod config;
mod error;
mod layer;
mod loss;
mod sink;
mod verify;
mod writer;

pub use config::{AuditConfig, AuditSink, InvalidAuditConfig};
pub use error::AuditError;
pub use layer::AuditLayer;
pub use verify::{Break, Flaw, Verified, verify};
pub use writer::{AuditGuard, start};

/// The target of audit events, and of the spans whose fields belong to them.
pub const TARGET: &str = "audit";
