//! `serve --docker` of a build that has no Docker.

use std::convert::Infallible;
use std::path::PathBuf;

use portolan_client::RegistryClient;

use crate::exit::Failure;

/// There are none.
pub(crate) struct Containers(Infallible);

/// Fails: this build has no Docker.
pub(crate) fn engine(_: Option<PathBuf>) -> Result<Infallible, Failure> {
    Err(super::not_built())
}

impl Containers {
    pub(crate) fn register(engine: Infallible, _: RegistryClient) -> Self {
        Self(engine)
    }

    #[allow(clippy::unused_async, reason = "the signature of the other build")]
    pub(crate) async fn stop(self) {
        match self.0 {}
    }
}
