//! reqwest that finds services by name: `http://api/path` reaches an instance of the service `api`.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let discovery = portolan::DiscoveryClient::builder().from_env()?.build()?;
//! let client = portolan_reqwest::ServiceClientBuilder::new(&discovery).build()?;
//! let answer = client.get("http://api/orders?state=open").send().await?.text().await?;
//! # Ok(()) }
//! ```
//!
//! The client is a [`reqwest_middleware::ClientWithMiddleware`], with the methods of [`reqwest::Client`]. A program with other
//! middleware adds [`ServiceMiddleware`] as the last one.
//!
//! # Which names
//!
//! The host of an `http://` URL is a service if it has neither a dot nor a port, as `http://api/`, and is not `localhost`. Names
//! with dots are services if they are [mapped](ServiceClientBuilder::host). Everything else is sent unchanged. The `Host` header
//! stays the name; the URL of the response has the address of the instance.
//!
//! # Which instance
//!
//! Each request is sent to an instance that the [policy](ServiceClientBuilder::policy) selects, by default the one with the
//! lowest latency and the fewest pending requests: an instance that is slow or hangs gets few. The instances are kept
//! current by the registry's watch.
//!
//! # Failures
//!
//! | what happens | what the client does |
//! | --- | --- |
//! | the connection is refused or times out: nothing was sent | the request is sent to another instance, whatever its method |
//! | the connection breaks, or no response comes within the [attempt timeout](ServiceClientBuilder::attempt_timeout) | GET, HEAD, OPTIONS, TRACE, PUT and DELETE are sent to another instance; others fail, because they may have taken effect |
//! | the instance answers, with any status | the response is returned |
//! | there is no instance | waits for one, for the [wait](ServiceClientBuilder::wait) at most |
//!
//! An instance that failed is reported, and left out for a while. A request whose body is a stream cannot be repeated.
//!
//! # What does not work
//!
//! - `https://api/` fails with an explanation, because the certificate of an instance names no service. Use the instance's own
//!   name, or terminate TLS before it.
//! - A response that breaks off after its headers is an error of the one who reads it.
//! - A redirect to another service by name fails in name resolution; one that is relative stays at the same instance.
//! - A proxy would be asked for the address of an instance, so [`build`](ServiceClientBuilder::build) makes a client without one. A
//!   client of your own with a proxy needs `NO_PROXY` for the addresses of the instances.

mod attempt;
mod builder;
mod error;
mod middleware;
mod target;

pub use builder::ServiceClientBuilder;
pub use error::ServiceRequestError;
pub use middleware::ServiceMiddleware;
