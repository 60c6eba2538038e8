//! Why a port could not be bound.

use std::io;
use std::net::IpAddr;

use nix::errno::Errno;

/// Why a port could not be bound.
#[derive(Debug)]
pub(crate) enum BindError {
    /// Another socket is bound to it, which may be closed in a moment.
    InUse,
    /// A process listens on it.
    Served,
    /// It needs a privilege.
    NotPermitted,
    /// The address is not one of this host.
    AddressNotHere(IpAddr),
    /// The system refuses sockets.
    System(io::Error),
}

// === impl BindError ===

impl BindError {
    pub(super) fn from_system(error: io::Error, address: IpAddr) -> Self {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EADDRINUSE) => Self::InUse,
            Some(Errno::EACCES | Errno::EPERM) => Self::NotPermitted,
            // EINVAL: an address that is only one together with an interface (`fe80::`).
            Some(Errno::EADDRNOTAVAIL | Errno::EAFNOSUPPORT | Errno::EINVAL) => {
                Self::AddressNotHere(address)
            }
            _ => Self::System(error),
        }
    }

    pub(crate) fn into_io(self) -> io::Error {
        match self {
            Self::InUse | Self::Served => Errno::EADDRINUSE.into(),
            Self::NotPermitted => Errno::EACCES.into(),
            Self::AddressNotHere(_) => Errno::EADDRNOTAVAIL.into(),
            Self::System(error) => error,
        }
    }
}

impl From<BindError> for io::Error {
    fn from(error: BindError) -> Self {
        error.into_io()
    }
}
