//! Errors of the port allocator.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use portolan_core::name::InvalidName;
use portolan_core::port_range::InvalidPortRange;
use portolan_core::{PortName, PortRange, Remedy, ServiceName};
use portolan_host_facts::DirectoryError;
use portolan_reservations::TableError;

use crate::grant::rejection::Rejection;

/// Why a port was not granted, or a lease could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AllocatorError {
    /// The configuration disables the port allocator. Retrying does not help.
    #[error("port allocation is disabled")]
    Disabled,
    /// The service's name is invalid. Retrying does not help.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The range is invalid. Retrying does not help.
    #[error(transparent)]
    Range(#[from] InvalidPortRange),
    /// The preferred port is 0. Retrying does not help.
    #[error("0 is not a preferred port for {service}: expected 1 to 65535")]
    PreferredZero {
        /// The service of the request.
        service: ServiceName,
    },
    /// The preferred port is in `reserved_ports`. Retrying does not help.
    #[error("port {port} is reserved by port_allocator.reserved_ports")]
    PreferredReserved {
        /// The preferred port.
        port: u16,
    },
    /// A strict request has no preferred port, or has a range besides. Retrying does not help.
    #[error("a strict request for {service} needs a preferred port, and no range")]
    StrictWithoutPort {
        /// The service of the request.
        service: ServiceName,
    },
    /// The preferred port belongs to no pool, and `restrict_to_ranges` is true. Retrying does not help.
    #[error(
        "port {port} is in no pool, and port_allocator.restrict_to_ranges is true: expected one of {allowed}"
    )]
    PreferredOutside {
        /// The preferred port.
        port: u16,
        /// The pools with their ports, as text.
        allowed: String,
    },
    /// There is no pool of that name. Retrying does not help.
    #[error("there is no pool {pool}: expected one of {pools}")]
    UnknownPool {
        /// The name, in quotation marks.
        pool: String,
        /// The names of the pools, as text.
        pools: String,
    },
    /// Neither the request nor the configuration says which ports the service may have. Retrying
    /// does not help.
    #[error("no ports are configured for {service}")]
    NoPortsConfigured {
        /// The service of the request.
        service: ServiceName,
        /// The names of the pools, as text.
        pools: String,
    },
    /// The service holds a lease on a port outside the requested range. Retrying helps once that
    /// lease is released.
    #[error("{service} holds port {port}, which is outside {range}")]
    HeldElsewhere {
        /// The service of the request.
        service: ServiceName,
        /// The port it holds.
        port: u16,
        /// The requested range.
        range: PortRange,
    },
    /// The service holds a lease on a port that a strict request does not name. Retrying helps once that lease is
    /// released.
    #[error("{service} holds port {port}, which the strict request does not name")]
    HeldInstead {
        /// The service of the request.
        service: ServiceName,
        /// The port it holds.
        port: u16,
    },
    /// Two requests of one call are for the same port of a service. Retrying does not help.
    #[error(
        "{service} requests {} twice in one call",
        port_name.as_ref().map_or("its port".to_owned(), |name| format!("its port {name}"))
    )]
    SamePortTwice {
        /// The service of the requests.
        service: ServiceName,
        /// The name of the port, if it has one.
        port_name: Option<PortName>,
    },
    /// The quota is used up. Retrying helps once a lease has ended.
    #[error("no port for {service}: {subject} holds {held} leases, and the quota is {limit}")]
    QuotaExceeded {
        /// The service of the request.
        service: ServiceName,
        /// Whose quota it is.
        subject: LimitSubject,
        /// How many leases are held.
        held: u32,
        /// How many are allowed.
        limit: u32,
    },
    /// The rate limit is exceeded. Retrying helps after the wait.
    #[error("no port for {service} yet: {subject} may request {limit} ports a second")]
    RateLimited {
        /// The service of the request.
        service: ServiceName,
        /// Whose rate limit it is.
        subject: LimitSubject,
        /// How many requests a second are allowed.
        limit: u32,
        /// How long to wait.
        wait: Duration,
    },
    /// Every port that the service may have is in use. Retrying helps once a process releases one.
    #[error("{}", NoPorts { service, range: *range, candidates, unlisted: *unlisted })]
    NoPortsAvailable {
        /// The service of the request.
        service: ServiceName,
        /// The range that was searched, if there was one.
        range: Option<PortRange>,
        /// Whether the request was strict.
        strict: bool,
        /// The ports that were tried, in that order, with the reason that each was not granted.
        candidates: Vec<Rejection>,
        /// How many more ports were tried: ephemeral ones, and those above
        /// [`Self::MAX_CANDIDATES`].
        unlisted: usize,
    },
    /// The address is not one of this host. Retrying does not help.
    #[error("{address} is not an address of this host")]
    AddressNotHere {
        /// The requested address.
        address: IpAddr,
    },
    /// The system refused a socket. Retrying helps if it was short of resources.
    #[error("cannot create a socket for port {port}: {source}")]
    Socket {
        /// The port to bind.
        port: u16,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The leased port cannot be listened on, for example because a foreign process listens there.
    #[error("cannot listen on the leased port {port}: {source}")]
    Listen {
        /// The leased port.
        port: u16,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The directory of the reservation table cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The reservation table cannot be used.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// To whom a quota or a rate limit applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitSubject {
    /// One service.
    Service,
    /// The user, with all services.
    User,
}

// === impl AllocatorError ===

impl AllocatorError {
    /// How many candidates an error lists at most.
    pub const MAX_CANDIDATES: usize = 1000;
}

impl Remedy for AllocatorError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        let remedy: Cow<'static, str> = match self {
            Self::Name(_) | Self::Range(_) => return None,
            Self::Directory(error) => return error.remedy(),
            Self::Table(error) => return error.remedy(),
            Self::Disabled => "set port_allocator.enabled to true".into(),
            Self::PreferredZero { .. } => "omit the preferred port to get the pool's default".into(),
            Self::PreferredReserved { .. } => {
                "prefer another port, or remove it from port_allocator.reserved_ports".into()
            }
            Self::StrictWithoutPort { .. } => {
                "name the ports that are acceptable as preferred ports, or do not be strict".into()
            }
            Self::PreferredOutside { .. } => {
                "set port_allocator.restrict_to_ranges to false, or add a pool to port_allocator.port_ranges".into()
            }
            Self::UnknownPool { .. } => "add the pool to port_allocator.port_ranges".into(),
            Self::NoPortsConfigured { pools, .. } => {
                format!("name a pool ({pools}) or a preferred port, or allow ephemeral ports").into()
            }
            Self::HeldElsewhere { .. } | Self::HeldInstead { .. } => {
                "release that lease first, or request the port under another service name".into()
            }
            Self::SamePortTwice { .. } => "give each port of the service a port name".into(),
            Self::QuotaExceeded { subject, .. } => {
                format!("end services that hold leases, or raise {}", subject.quota_setting()).into()
            }
            Self::RateLimited { subject, wait, .. } => {
                let setting = subject.rate_limit_setting();
                format!("try again in {wait:?}, or raise {setting}").into()
            }
            Self::NoPortsAvailable { strict: true, .. } => {
                "end one of these processes, or name further preferred ports, or do not be strict".into()
            }
            Self::NoPortsAvailable { range: Some(_), .. } => {
                "end one of these processes, widen the range in port_allocator.port_ranges, or set port_allocator.allow_ephemeral".into()
            }
            Self::NoPortsAvailable { range: None, .. } => {
                "end one of these processes, name a pool, or set port_allocator.allow_ephemeral".into()
            }
            Self::AddressNotHere { .. } => "bind an address of this host, or all".into(),
            Self::Socket { .. } => "check the limit on open files (`ulimit -n`)".into(),
            Self::Listen { port, .. } => {
                format!("run `portolan ports check {port}` to find the process that uses it, then request a port again").into()
            }
        };
        Some(remedy)
    }
}

/// The text of a failed search, with one line for each port.
struct NoPorts<'a> {
    service: &'a ServiceName,
    range: Option<PortRange>,
    candidates: &'a [Rejection],
    unlisted: usize,
}

impl fmt::Display for NoPorts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, range, candidates, unlisted } = self;
        write!(f, "no port available for {service}")?;
        if let Some(range) = range {
            write!(f, " in {range}")?;
        }
        for rejection in *candidates {
            write!(f, "\n  {rejection}")?;
        }
        if *unlisted > 0 {
            write!(f, "\n  and {unlisted} more")?;
        }
        Ok(())
    }
}

// === impl LimitSubject ===

impl LimitSubject {
    fn quota_setting(self) -> &'static str {
        match self {
            Self::Service => "port_allocator.quota.per_service",
            Self::User => "port_allocator.quota.per_user",
        }
    }

    fn rate_limit_setting(self) -> &'static str {
        match self {
            Self::Service => "port_allocator.rate_limit.per_service",
            Self::User => "port_allocator.rate_limit.per_user",
        }
    }
}

impl fmt::Display for LimitSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Service => "the service",
            Self::User => "this user",
        })
    }
}

#[cfg(test)]
mod tests;
