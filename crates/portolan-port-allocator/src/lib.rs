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
mod binder;
mod config;
mod directories;
mod ephemeral;
mod error;
mod holder;
mod host;
mod lease;
mod limits;
mod occupants;
mod overlap;
mod patience;
mod places;
mod policy;
mod pressure;
mod processes;
mod recent;
mod report;
mod request;
mod rules;
mod search;
mod session;
mod sockets;
mod sticky;
mod system_ports;
mod view;
mod walk;

pub use allocator::PortAllocator;
pub use config::{InvalidPoolRange, PoolRange, PortAllocatorConfig};
pub use error::{AllocatorError, Bearer, DirectoryError, Refusal, RefusalReason};
pub use holder::{Holder, Process, Stranger};
pub use lease::PortLease;
pub use limits::Limits;
pub use occupants::{Leased, Occupant, Occupants, Transport};
pub use overlap::{EphemeralOverlap, ExposedPool};
pub use portolan_reservations::{Depth, InvalidDepth, TableError};
pub use pressure::EphemeralUse;
pub use report::{PortReport, PortState};
pub use request::{BindAddress, PortRequest};
pub use rules::PortRule;
pub use sockets::listener_pid;
pub use system_ports::SystemPorts;
