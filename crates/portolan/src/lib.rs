//! Dynamic port binding and service discovery: services get a port, and clients find the services.
//!
//! # A port
//!
//! Checking that a port is free does not reserve it: another process can bind it before the program
//! does. A [`PortLease`] reserves it: the lease holds the socket, or guards the port while a program
//! binds it.
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
//! [`testing`] leases ports for tests without any configuration: a bound listener, or a port number
//! for a server that binds it itself. Concurrent tests never get the same port.
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
//! [`blocking`] is the client for programs without an async runtime. An [`Agent`] keeps the
//! program's own service discoverable: it registers, announces, checks, renews the lease and
//! deregisters.
//!
//! # Extension points
//!
//! A program adds its own discovery strategies ([`Strategy`]) and sources of port reservations
//! ([`client::Reservations`]); `docs/extending.md` describes how.
//!
//! The most used types are exported here. Each crate is exported as a module too, so that every type
//! in a signature can be named: [`agent`], [`broadcast`], [`client`], [`core`], [`health`],
//! [`metrics`], [`ports`], [`registry`].

mod this_host;

#[doc(no_inline)]
pub use portolan_agent as agent;
#[doc(no_inline)]
pub use portolan_broadcast as broadcast;
#[doc(no_inline)]
pub use portolan_client as client;
#[doc(no_inline)]
pub use portolan_core as core;
#[doc(no_inline)]
pub use portolan_health as health;
#[doc(no_inline)]
pub use portolan_metrics as metrics;
#[doc(no_inline)]
pub use portolan_port_allocator as ports;
#[doc(no_inline)]
pub use portolan_registry as registry;
#[doc(no_inline)]
pub use portolan_testing as testing;

#[doc(inline)]
pub use portolan_agent::{Agent, AgentBuilder, AgentError, advertised_host};
#[doc(inline)]
pub use portolan_broadcast::{BroadcastConfig, BroadcastError, Broadcaster, QueryMode};
#[doc(inline)]
pub use portolan_client::strategy::{
    Candidate, ChangeFeed, Completeness, Position, Strategy, StrategyError, StrategyFuture,
    StrategyKind, StrategyOutcome, StrategyQuery,
};
#[doc(inline)]
pub use portolan_client::{
    Attempt, AttemptOutcome, Deadline, Discover, DiscoverAll, DiscoverError, Discovered,
    DiscoveryConfig, Explanation, InvalidDiscovery, LoadBalancingPolicy, OpenInstances,
    PickedInstance, RegistryClient, RegistryClientConfig, RegistryClientError, ServiceInstances,
    ServiceWatch, SettingsClient, SettingsVersion, SettingsWatch, StrategyName, UpdateError,
};
#[doc(inline)]
pub use portolan_core::{
    Action, Change, HealthReport, HealthStatus, Host, Incarnation, PortRange, Protocol,
    Registration, Remedy, Revision, Scope, ServiceAnnouncement, ServiceEndpoint, ServiceEvent,
    ServiceId, ServiceName, Source, Ttl,
};
#[doc(inline)]
pub use portolan_health::{
    Check, CheckInput, CheckKind, CheckKinds, CheckOptions, CheckParser, CheckSpec, CheckTiming,
    HealthConfig, HealthEvent, HealthMonitor, InvalidCheck, LocalProgram, Target,
};
#[doc(inline)]
pub use portolan_metrics::Metrics;
#[doc(inline)]
pub use portolan_port_allocator::{
    AllocatorError, BindAddress, Depth, PortAllocator, PortAllocatorConfig, PortLease, PortRequest,
};
#[doc(inline)]
pub use portolan_registry::{Registry, RegistryConfig, RegistryError};
pub use this_host::ThisHost;

/// Finds services by name, with the reservations of this host. Clones share everything.
pub type DiscoveryClient = portolan_client::DiscoveryClient<ThisHost>;
/// Builds a [`DiscoveryClient`]; everything has a default.
pub type DiscoveryClientBuilder = portolan_client::DiscoveryClientBuilder<ThisHost>;

/// A blocking client, for programs without an async runtime.
pub mod blocking {
    pub use portolan_client::blocking::{BuildError, DiscoverRequest, ServiceWatch};

    /// Finds services by name, with the reservations of this host. Clones share everything.
    pub type DiscoveryClient = portolan_client::blocking::DiscoveryClient<crate::ThisHost>;
}
