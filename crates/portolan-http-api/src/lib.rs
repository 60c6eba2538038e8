//! Portolan's own HTTP API, as a dialect of `portolan-http`: the registry for programs in any
//! language, one file per resource.
//!
//! Every error is an `application/problem+json` document (RFC 9457) that names what is wrong, where,
//! and the remedy. Parsing, limits and listeners are `portolan-http`'s; leases, revisions and
//! storage are the registry's.
//!
//! ```no_run
//! use portolan_http::{HttpLimits, serve};
//! use portolan_http_api::Api;
//! use portolan_metrics::Metrics;
//! use portolan_registry::{RegistryConfig, open};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let metrics = Metrics::new();
//! let (writer, registry) = open(&RegistryConfig::default(), metrics.clone())?;
//! let writer = tokio::spawn(writer.run(std::future::pending()));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:7000").await?;
//! let dialects = [Api::new(registry, metrics).dialect()];
//! serve(listener, dialects, HttpLimits::default(), async { drop(tokio::signal::ctrl_c().await) }).await?;
//! writer.abort();
//! # Ok(())
//! # }
//! ```

mod body;
mod encoded_events;
mod errors;
mod etag;
mod failure_reports;
mod lookups;
mod openapi;
mod parameters;
mod pieces;
mod probing;
mod problem;
mod resources;
mod routes;
mod sessions;
mod state;
mod turns;

pub use failure_reports::{FailureReports, FailureReportsTask};
pub use sessions::{Sessions, SessionsTask};
pub use state::Api;

#[cfg(test)]
mod tests;
