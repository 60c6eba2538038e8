//! Why a test got no port, and what to do about it.

use portolan_core::PortRange;
use portolan_port_allocator::{AllocatorError, DirectoryError};

/// Why a test got no port.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestingError {
    /// The folder of the table is not one to be trusted. Retrying helps once it is mended.
    #[error("{0}; tests read no settings: for them, set XDG_RUNTIME_DIR to a folder of your own")]
    Directory(#[source] DirectoryError),
    /// Somebody has every port that tests may have. Retrying helps once others gave theirs back.
    #[error(
        "every port for tests ({range}) is taken; `portolan ports list` and `ss -ltnp` name who has them: end those that should not be there"
    )]
    AllTaken {
        /// The ports that tests may have.
        range: PortRange,
    },
    /// The allocator refuses for another reason, which says whether a retry helps.
    #[error(transparent)]
    Allocator(AllocatorError),
}

// === impl TestingError ===

impl From<AllocatorError> for TestingError {
    /// What the allocator says of its settings would lead nowhere here, where there are none.
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
    fn no_remedy_is_one_of_the_configuration() {
        let range = Some(PortRange::known(20_000, 29_999));
        let service = "test".parse().unwrap();
        let taken =
            AllocatorError::NoPortsAvailable { service, range, candidates: vec![], unlisted: 9 };
        let text = TestingError::from(taken).to_string();
        assert!(text.contains("20000-29999") && text.contains("ports list"), "{text}");
        assert!(!text.contains("port_allocator."), "{text}");

        let (path, setting) = ("/tmp/x".into(), "port_allocator.runtime_dir");
        let folder = AllocatorError::Directory(DirectoryError::NotADirectory { path, setting });
        let text = TestingError::from(folder).to_string();
        assert!(text.contains("/tmp/x") && text.contains("XDG_RUNTIME_DIR"), "{text}");
    }
}
