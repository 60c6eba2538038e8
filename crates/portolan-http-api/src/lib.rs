//! Portolan's HTTP API: the registry for programs in any language, one file per resource.
//!
//! Takes requests from a listener that the caller brings, checks them at the door, and answers
//! every failure with an `application/problem+json` (RFC 9457) that names the place and the
//! remedy. The one exception is what is no request at all: where hyper cannot make out a head, or
//! finds it longer than 64 KiB, it says 400 or 431 itself, without a body, and closes; it has no
//! place for an answer of ours, and who sends that reads none. Knows nothing of leases, revisions or storage: that is the registry's.
//!
//! ```no_run
//! use portolan_http_api::{Api, serve};
//! use portolan_metrics::Metrics;
//! use portolan_registry::{RegistryConfig, open};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let metrics = Metrics::new();
//! let (writer, registry) = open(&RegistryConfig::default(), metrics.clone())?;
//! let writing = tokio::spawn(writer.run(std::future::pending()));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:7000").await?;
//! serve(listener, Api::new(registry, metrics), async { drop(tokio::signal::ctrl_c().await) }).await?;
//! writing.abort();
//! # Ok(())
//! # }
//! ```

mod access;
mod api;
mod body;
mod connection;
mod etag;
mod limits;
mod nearest;
mod openapi;
mod parameters;
mod patience;
mod problem;
mod requests;
mod resources;
mod routes;
mod server;

pub use api::Api;
pub use limits::Limits;
pub use server::{ServeError, serve};

#[cfg(test)]
mod tests;
