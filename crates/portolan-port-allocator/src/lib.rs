//! The port allocator: a service gets a port that nobody else can take.
//!
//! A grant is a [`PortLease`], and as safe as its [`Depth`] says. Every process of a user sees the
//! leases of all others in one table, without a daemon, and the kernel ends a lease with the last
//! process that holds it. Knows nothing of registries, names on the network, or health.
//!
//! ```no_run
//! use portolan_port_allocator::PortAllocator;
//!
//! let lease = PortAllocator::new(Default::default())?.allocate("api-server", 8080)?;
//! let listener = lease.into_listener()?;
//! # Ok::<(), portolan_port_allocator::AllocatorError>(())
//! ```
//!
//! A program that binds by itself gets the number and a guard:
//!
//! ```no_run
//! use portolan_port_allocator::{Depth, PortAllocator, PortRequest};
//!
//! let allocator = PortAllocator::new(Default::default())?;
//! let request = PortRequest::new("postgres-1".parse()?).depth(Depth::Guarded);
//! let lease = allocator.request(request)?;
//! println!("postgres -p {}", lease.port());
//! # Ok::<(), portolan_port_allocator::AllocatorError>(())
//! ```
//!
//! Linux only: the locks, the guard and `/proc` are Linux's.

mod allocator;
mod audit;
mod bind_address;
mod config;
mod error;
mod grant;
mod inspect;
mod lease;
mod limits;
mod request;
mod shared;

pub use allocator::PortAllocator;
pub use bind_address::{BindAddress, InvalidBindAddress};
pub use config::PortAllocatorConfig;
pub use error::{AllocatorError, LimitSubject};
pub use grant::rejection::{Rejection, RejectionReason};
pub use inspect::ephemeral_overlap::{EphemeralOverlap, ExposedPool};
pub use inspect::listeners::{LeasedPort, PortUsage};
pub use inspect::report::{PortReport, PortState};
pub use inspect::rules::PortRule;
pub use lease::PortLease;
pub use lease::holder::Holder;
pub use limits::PortLimits;
pub use portolan_host_facts::{
    DirectoryError, PortListener, Process, SocketOwner, SocketProtocol, SystemPorts,
};
pub use portolan_reservations::{Depth, InvalidDepth, TableError};
pub use request::PortRequest;
