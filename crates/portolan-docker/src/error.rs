//! Errors of the Docker engine, by what resolves them.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use portolan_core::{Remedy, escaped_line};

/// Why a request to a Docker engine failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DockerError {
    /// Nothing answers at the socket. Retrying helps once the engine runs.
    #[error("cannot reach Docker at {}: {reason}", socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What happened instead.
        reason: String,
        /// The kind of the error of the system, if it is one.
        kind: Option<io::ErrorKind>,
    },
    /// The engine refuses the request. Retrying does not help.
    #[error("Docker at {} refused ({status}): {message}", socket.display())]
    Refused {
        /// The socket.
        socket: PathBuf,
        /// The HTTP status.
        status: u16,
        /// The engine's reason.
        message: String,
    },
    /// The answer is not one of a Docker engine, or exceeds its limit. Retrying does not help: another program listens there.
    #[error("the answer of Docker at {} cannot be used: {reason}", socket.display())]
    BadAnswer {
        /// The socket.
        socket: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

// === impl DockerError ===

impl DockerError {
    /// Returns whether the same request may succeed later without a change by the user.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { kind, .. } => *kind != Some(io::ErrorKind::PermissionDenied),
            Self::Refused { status, .. } => *status >= 500,
            Self::BadAnswer { .. } => false,
        }
    }

    /// Whether the engine does not know what was asked for.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    pub(crate) fn unreachable(socket: &std::path::Path, error: &reqwest::Error) -> Self {
        let (cause, kind) = cause(error);
        let reason = escaped_line(&cause).into_owned();
        Self::Unreachable { socket: socket.to_owned(), reason, kind }
    }
}

impl Remedy for DockerError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Unreachable { kind: Some(io::ErrorKind::PermissionDenied), .. } => Some(
                "run as root or as a member of the group docker, which is as powerful as root; see docs/docker.md".into(),
            ),
            Self::Unreachable { kind: Some(io::ErrorKind::NotFound), .. } => {
                Some("start Docker, or set DOCKER_HOST to its socket, such as unix:///run/user/1000/docker.sock".into())
            }
            Self::Unreachable { .. } => Some("check that Docker runs: `docker info`".into()),
            Self::BadAnswer { .. } => Some("check the path of the socket".into()),
            Self::Refused { .. } => None,
        }
    }
}

/// Returns the innermost cause, which is the one that a person can resolve, and its kind.
fn cause(error: &reqwest::Error) -> (String, Option<io::ErrorKind>) {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    let mut kind = None;
    while let Some(source) = cause.source() {
        cause = source;
        kind = cause.downcast_ref::<io::Error>().map(io::Error::kind).or(kind);
    }
    (cause.to_string(), kind)
}
