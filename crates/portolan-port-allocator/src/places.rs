//! Where an allocator with these settings keeps what it knows.

use std::path::PathBuf;

use crate::config::PortAllocatorConfig;
use crate::directories;
use crate::error::DirectoryError;

// === impl PortAllocatorConfig ===

impl PortAllocatorConfig {
    /// The folder of the table of reservations, made where it was missing.
    pub fn runtime_folder(&self) -> Result<PathBuf, DirectoryError> {
        directories::runtime(self.runtime_dir.as_deref())
    }

    /// The folder of the ports of the last run, made where it was missing; none where nothing says
    /// where it could be.
    pub fn state_folder(&self) -> Result<Option<PathBuf>, DirectoryError> {
        directories::state(self.state_dir.as_deref())
    }
}
