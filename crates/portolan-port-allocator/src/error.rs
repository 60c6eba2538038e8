//! Why there is no port, and what to do about it.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use portolan_core::name::InvalidName;
use portolan_core::port_range::InvalidPortRange;
use portolan_core::{PortName, PortRange, ServiceName};
use portolan_host_facts::DirectoryError;
use portolan_reservations::TableError;

use crate::grant::rejection::Rejection;

/// Why a port was not granted, or a lease could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AllocatorError {
    /// The configuration says so. Retrying does not help.
    #[error("port allocation is switched off; set port_allocator.enabled to true")]
    Disabled,
    /// The service's name is none. Retrying does not help.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The range is none. Retrying does not help.
    #[error(transparent)]
    Range(#[from] InvalidPortRange),
    /// Port 0 was preferred. Retrying does not help.
    #[error(
        "0 is no port to prefer for {service}; give a number from 1 to 65535, or none for the default of its pool"
    )]
    PreferredZero {
        /// The service that asked.
        service: ServiceName,
    },
    /// The preferred port is one that is never granted. Retrying does not help.
    #[error(
        "port {port} is reserved; prefer another one, or take it out of port_allocator.reserved_ports"
    )]
    PreferredReserved {
        /// The preferred port.
        port: u16,
    },
    /// The preferred port is one that browsers refuse, and the service speaks HTTP. Retrying does
    /// not help.
    #[error(
        "browsers refuse to connect to port {port} (Fetch standard, \"port blocking\"), so it is of no use to a service that speaks HTTP; prefer another one"
    )]
    PreferredBlocked {
        /// The preferred port.
        port: u16,
    },
    /// The preferred port belongs to no pool. Retrying does not help.
    #[error(
        "port {port} lies outside every allowed range ({allowed}); prefer a port of these, ask for a range of its own, or add one to port_allocator.port_ranges"
    )]
    PreferredOutside {
        /// The preferred port.
        port: u16,
        /// The pools with their ports, as a text.
        allowed: String,
    },
    /// There is no pool of that name. Retrying does not help.
    #[error(
        "there is no pool {pool:?}; use one of {pools}, or add it to port_allocator.port_ranges"
    )]
    UnknownPool {
        /// The name as given.
        pool: String,
        /// The names that there are, as a text.
        pools: String,
    },
    /// Nothing says where a port for the service could be looked for. Retrying does not help.
    #[error(
        "nothing says which port {service} may have; give it a pool ({pools}), a preferred port, or allow ephemeral ports"
    )]
    NowhereToLook {
        /// The service that asked.
        service: ServiceName,
        /// The names of the pools, as a text.
        pools: String,
    },
    /// The service has a port already, and not where it asks for one now. Retrying helps once it
    /// has given that port back.
    #[error(
        "{service} holds port {port} already, which is outside {range}; release that lease first, or ask under another name"
    )]
    HeldElsewhere {
        /// The service that asked.
        service: ServiceName,
        /// The port it holds.
        port: u16,
        /// The range it asks for now.
        range: PortRange,
    },
    /// One port was asked for twice at once. Retrying does not help.
    #[error(
        "{service} asks for {} twice at once; give each of its ports a name of its own",
        port_name.as_ref().map_or("its port".to_owned(), |name| format!("its port {name}"))
    )]
    SamePortTwice {
        /// The service that asked.
        service: ServiceName,
        /// The port's name, where it has one.
        port_name: Option<PortName>,
    },
    /// As many leases are held already as are allowed. Retrying helps once one has ended.
    #[error(
        "{service} gets no further port: {subject} holds {held} already and {limit} are allowed; end some, or raise port_allocator.quota.{}",
        subject.setting()
    )]
    QuotaExceeded {
        /// The service that asked.
        service: ServiceName,
        /// Whose quota it is.
        subject: LimitSubject,
        /// How many leases are held.
        held: u32,
        /// How many are allowed.
        limit: u32,
    },
    /// Ports were asked for faster than is allowed. Retrying helps after the wait.
    #[error(
        "{service} gets no port yet: {subject} may ask for {limit} ports a second; try again in {wait:?}, find out what asks so often, or raise port_allocator.rate_limit.{}",
        subject.setting()
    )]
    RateLimited {
        /// The service that asked.
        service: ServiceName,
        /// Whose rate it is.
        subject: LimitSubject,
        /// How many requests a second are allowed.
        limit: u32,
        /// How long to wait.
        wait: Duration,
    },
    /// Every port that the service may have is taken. Retrying helps once a holder is gone.
    #[error("{}", NoPorts { service, range: *range, candidates, unlisted: *unlisted })]
    NoPortsAvailable {
        /// The service that asked.
        service: ServiceName,
        /// The range that was searched, where there was one.
        range: Option<PortRange>,
        /// Each port that was tried, in that order, and who holds it.
        candidates: Vec<Rejection>,
        /// How many ports were tried besides, above [`Self::MAX_CANDIDATES`] and ephemeral ones.
        unlisted: usize,
    },
    /// The address is not one of this host. Retrying does not help.
    #[error("{address} is not an address of this host; bind one of its own, or every address")]
    AddressNotHere {
        /// The address asked for.
        address: IpAddr,
    },
    /// The system refused a socket. Retrying may help, where it was short of something.
    #[error("no socket for port {port}: {source}; see how many files are open (ulimit -n)")]
    Socket {
        /// The port to bind.
        port: u16,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Somebody was faster, or the system refused, when the leased port was to be listened on.
    #[error("cannot listen on the leased port {port}: {source}; see who has it, then ask again")]
    Listen {
        /// The leased port.
        port: u16,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The folder of the table is not one to be trusted.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The table of this host's reservations cannot be used.
    #[error("{}", portolan_core::Remedy::with_remedy(.0))]
    Table(#[from] TableError),
}

/// Whose limit it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitSubject {
    /// That of one service.
    Service,
    /// That of the user altogether.
    User,
}

// === impl AllocatorError ===

impl AllocatorError {
    /// How many candidates an error lists at most.
    pub const MAX_CANDIDATES: usize = 1000;
}

/// The whole story of a search in vain, a line for each port.
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
        for refusal in *candidates {
            write!(f, "\n  {refusal}")?;
        }
        if *unlisted > 0 {
            write!(f, "\n  and {unlisted} more")?;
        }
        let widen = match range {
            Some(_) => "widen its range (port_allocator.port_ranges)",
            None => "give it a pool to choose from",
        };
        write!(
            f,
            "\nend one of these, {widen}, or allow ephemeral ports (port_allocator.allow_ephemeral)"
        )
    }
}

// === impl LimitSubject ===

impl LimitSubject {
    fn setting(self) -> &'static str {
        match self {
            Self::Service => "per_service",
            Self::User => "per_user",
        }
    }
}

impl fmt::Display for LimitSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Service => "it",
            Self::User => "this user",
        })
    }
}
