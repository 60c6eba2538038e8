//! Errors of leasing a port for a test.

use std::borrow::Cow;

use portolan_core::{PortRange, Remedy};
use portolan_port_allocator::{AllocatorError, DirectoryError};

/// Why a test got no port.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestingError {
    /// The directory of the reservation table is not usable. Retrying helps once it is fixed.
    #[error("{0}")]
    Directory(#[source] DirectoryError),
    /// Every port for tests is in use. Retrying helps once one is released.
    #[error("every port for tests ({range}) is in use")]
    AllTaken {
        /// The ports for tests.
        range: PortRange,
    },
    /// Another error of the allocator.
    #[error(transparent)]
    Allocator(AllocatorError),
}

// === impl TestingError ===

impl Remedy for TestingError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Directory(_) => Some("set XDG_RUNTIME_DIR to a private directory".into()),
            Self::AllTaken { .. } => Some(
                "end processes that should not hold them, as listed by `portolan ports list` and `ss -ltnp`".into(),
            ),
            Self::Allocator(error) => error.remedy(),
        }
    }
}

impl From<AllocatorError> for TestingError {
    /// Replaces the errors whose remedies are settings, which tests do not read.
    fn from(error: AllocatorError) -> Self {
        match error {
            AllocatorError::Directory(error) => Self::Directory(error),
            AllocatorError::NoPortsAvailable { range: Some(range), .. } => Self::AllTaken { range },
            error => Self::Allocator(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_remedies() {
        let range = Some(PortRange::known(20_000, 29_999));
        let service = "test".parse().unwrap();
        let taken = AllocatorError::NoPortsAvailable {
            service,
            range,
            strict: false,
            candidates: vec![],
            unlisted: 9,
        };
        let (path, setting) = ("/tmp/x".into(), "port_allocator.runtime_dir");
        let directory = DirectoryError::NotADirectory { path, setting };
        let errors = [taken, AllocatorError::Directory(directory), AllocatorError::Disabled];
        let text = errors.map(|error| {
            let error = TestingError::from(error);
            format!("{error}\n  remedy: {}", error.remedy().unwrap_or("-".into()))
        });
        insta::assert_snapshot!(text.join("\n"));
    }
}
