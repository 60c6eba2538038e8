//! The port allocator grants leases on ports.
//!
//! A [`PortLease`] reserves a port for a service; its [`Depth`] is the hold level: how strongly the
//! port is protected from other processes. All processes of a user share one reservation table,
//! without a daemon. A lease ends with the last process that holds its file descriptors. The crate
//! knows nothing of registries, discovery or health checks.
//!
//! ```no_run
//! use portolan_port_allocator::PortAllocator;
//!
//! let lease = PortAllocator::new(Default::default())?.allocate("api-server", 8080)?;
//! let listener = lease.into_listener()?;
//! # Ok::<(), portolan_port_allocator::AllocatorError>(())
//! ```
//!
//! For a program that binds the port itself, request a guard:
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
//! Linux only: it needs open file description locks, `SO_REUSEADDR` as Linux defines it, and `/proc`.

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
pub use portolan_reservations::{Depth, InvalidDepth, SessionShare, TableError};
pub use request::PortRequest;
