//! tonic servers that register and drain, and a gRPC channel over the instances of a service.
//!
//! A server leases a port, serves the standard health protocol beside its services, is registered with the check `grpc`, and on
//! SIGTERM or SIGINT it drains, is deregistered, and finishes its open calls:
//!
//! ```no_run
//! # async fn example(greeter: tonic_health::pb::health_server::HealthServer<impl tonic_health::pb::health_server::Health>)
//! # -> Result<(), portolan_tonic::ServiceError> {
//! let router = tonic::transport::Server::builder().add_service(greeter);
//! portolan_tonic::serve("greeter", router).await
//! # }
//! ```
//!
//! A client of generated code takes a [`ServiceChannel`] in place of tonic's own channel:
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use tonic_health::pb::health_client::HealthClient;
//!
//! let discovery = portolan::DiscoveryClient::builder().from_env()?.build()?;
//! let channel = portolan_tonic::ServiceChannel::new(discovery.instances("greeter").await?);
//! let mut client = HealthClient::new(channel);
//! # Ok(()) }
//! ```
//!
//! # What the channel does
//!
//! Each call goes to an instance that the policy of the [instances](portolan_client::ServiceInstances) selects, over one HTTP/2
//! connection for each instance.
//!
//! | what happens | what the channel does |
//! | --- | --- |
//! | the connection is refused, or is closed before the call was written | the call is sent to another instance, up to [`attempts`](ServiceChannel::attempts) |
//! | the connection breaks during the call | the call fails with `UNAVAILABLE`: it may have taken effect, and gRPC does not say which methods may be repeated |
//! | no headers come within the [timeout](ServiceChannel::timeout) | the call fails with `DEADLINE_EXCEEDED` |
//! | there is no instance | waits for one, for the [wait](ServiceChannel::wait) at most, then `UNAVAILABLE` |
//!
//! An instance that failed is reported, and left out for a while. The status of a call is that of the instance and says nothing about
//! the instance. Connections are plain HTTP/2, or encrypted with the feature `tls` and `ServiceChannel::tls`, which takes the name that the
//! certificates of all instances share.

mod channel;
mod server;

pub use channel::ServiceChannel;
pub use portolan_service::{ServiceError, ServiceOptions, stop_signal};
#[cfg(feature = "tls")]
pub use portolan_tls::TlsError;
pub use server::{serve, serve_until};
