//! Dynamic port binding and service discovery: every service finds a port, and every client finds
//! the service.
//!
//! # A port
//!
//! A port that was checked is not yet a port that one has: between the check and the bind anybody
//! can take it. A [`PortLease`] is: it holds the socket, or keeps others off while a program binds.
//!
//! ```
//! use portolan::PortAllocator;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let config = portolan::PortAllocatorConfig {
//! #     runtime_dir: Some(folder.path().join("run")),
//! #     state_dir: Some(folder.path().join("state")),
//! #     ..Default::default()
//! # };
//! # let allocator = PortAllocator::new(config)?;
//! # /*
//! let allocator = PortAllocator::new(Default::default())?;
//! # */
//! let lease = allocator.allocate("api-server", 8080)?;
//! let port = lease.port();                        // 8080, or the next that is free
//! let listener = lease.into_listener()?;          // a std::net::TcpListener on it
//! # assert_eq!(listener.local_addr()?.port(), port);
//! # Ok(())
//! # }
//! ```
//!
//! # A test
//!
//! In tests, [`testing`] leases one in a line, without any configuration: a bound listener, or a
//! number that a server binds by itself. Tests that run at the same time never have one port twice.
//!
//! ```
//! let listener = portolan::testing::listener();
//! let port = portolan::testing::port();           // redis-server --port {port}
//! # assert_ne!(listener.port(), *port);
//! ```
//!
//! # A service
//!
//! ```no_run
//! use std::time::Duration;
//! use futures_util::StreamExt;
//! use portolan::{DiscoveryClient, ServiceEndpoint};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = DiscoveryClient::builder().registry_url("http://localhost:7000").build()?;
//! let postgres = client.discover("postgres-primary").timeout(Duration::from_secs(5)).retries(3).await?;
//! let replicas: Vec<ServiceEndpoint> = client.discover_all("postgres-replica").await?;
//! let mut events = client.watch("postgres-primary").await?;
//! while let Some(event) = events.next().await {
//!     println!("{event:?}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`blocking`] is the same for programs without a runtime. [`Agent`] keeps one's own service
//! findable: it registers, announces, checks, keeps alive and deregisters.
//!
//! The parts behind these are here too, each in the crate of its name: the [`Registry`], the
//! [`Broadcaster`], the [`HealthMonitor`].

#[doc(inline)]
pub use portolan_agent::{Agent, AgentError, advertised_host};
#[doc(inline)]
pub use portolan_broadcast::{BroadcastConfig, Broadcaster, QueryMode};
#[doc(inline)]
pub use portolan_client::{
    DiscoverError, DiscoveryClient, DiscoveryConfig, RegistryClient, RegistryClientConfig, blocking,
};
#[doc(inline)]
pub use portolan_core::{
    Action, Change, HealthReport, HealthStatus, Host, PortRange, Protocol, Registration, Revision,
    Scope, ServiceAnnouncement, ServiceEndpoint, ServiceEvent, ServiceId, ServiceName, Ttl,
};
#[doc(inline)]
pub use portolan_health::{
    Check, CheckKind, CheckKinds, CheckParser, CheckSpec, HealthConfig, HealthMonitor,
    InvalidCheck, Target,
};
#[doc(inline)]
pub use portolan_metrics::Metrics;
#[doc(inline)]
pub use portolan_port_allocator::{
    AllocatorError, Depth, PortAllocator, PortAllocatorConfig, PortLease, PortRequest,
};
#[doc(inline)]
pub use portolan_registry::{Registry, RegistryConfig};
#[doc(inline)]
pub use portolan_testing as testing;
