//! A build without templates: a stack with files is invalid.

use std::collections::BTreeSet;
use std::path::Path;

use portolan_client::DiscoveryClient;
use portolan_core::Protocol;

use super::FileEntry;
use crate::StopSignal;

#[derive(Debug)]
pub(in crate::stack) struct RenderedFiles;

// === impl RenderedFiles ===

impl RenderedFiles {
    #[allow(clippy::unused_async, reason = "the signature of builds with templates")]
    pub(in crate::stack) async fn render(
        _: &[FileEntry],
        _: &Path,
        _: &DiscoveryClient,
        _: &BTreeSet<Protocol>,
    ) -> Result<Self, String> {
        Ok(Self)
    }

    pub(in crate::stack) async fn changed(&self) -> StopSignal {
        std::future::pending().await
    }

    #[allow(clippy::unused_async, reason = "the signature of builds with templates")]
    pub(in crate::stack) async fn end(self) {}
}
