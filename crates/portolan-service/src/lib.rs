//! The life of a service inside its own program, in one place for every kind of server: a leased or inherited socket,
//! registration with health checks, draining, deregistration.
//!
//! `portolan-axum` and `portolan-tonic` are built on it. A program with another server uses it directly:
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use portolan_service::{ServiceOptions, stop_signal};
//!
//! let (listener, bound) = ServiceOptions::new("api").preferred_port(8080).bind().await?;
//! let server = tokio::spawn(serve(listener));
//! let published = bound.publish().await?;
//! stop_signal().await;
//! published.withdraw().await; // callers have left
//! server.abort();
//! # Ok(()) }
//! # async fn serve(_: tokio::net::TcpListener) {}
//! ```
//!
//! # Under `portolan run` and `portolan up`
//!
//! The wrapper leases the port, registers the service and drains it before it sends SIGTERM. Its program inherits the socket
//! (`--handoff socket`) or binds the port in `PORT`, and publishes nothing itself. The same program without a wrapper does all
//! of that by itself.

mod bind;
mod environment;
mod error;
mod options;
mod published;
mod run;
mod signals;

pub use bind::BoundService;
pub use error::ServiceError;
pub use options::ServiceOptions;
pub use published::PublishedService;
pub use signals::stop_signal;
