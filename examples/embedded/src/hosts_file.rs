//! A discovery strategy that reads a file with one `NAME ADDRESS:PORT` per line.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use portolan::{
    Strategy, StrategyError, StrategyFuture, StrategyKind, StrategyOutcome, StrategyQuery,
};

/// Finds services in a hosts file.
pub struct HostsFile(PathBuf);

impl HostsFile {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Returns the address in the first line of the service.
    fn address(&self, name: &str) -> io::Result<Option<SocketAddr>> {
        let text = std::fs::read_to_string(&self.0)?;
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let address = lines.filter(|(known, _)| *known == name).map(|(_, address)| address).next();
        address.map(|address| address.parse().map_err(io::Error::other)).transpose()
    }
}

impl Strategy for HostsFile {
    fn kind(&self) -> StrategyKind {
        StrategyKind::new("hosts")
    }

    fn find<'a>(&'a self, query: &'a StrategyQuery) -> StrategyFuture<'a> {
        Box::pin(async move {
            match self.address(query.name.as_str()) {
                Ok(Some(address)) => query.found_at(address.ip(), address.port()),
                // The file lists some services and says nothing about others.
                Ok(None) => StrategyOutcome::NotFound {
                    reason: format!("{} has no {}", self.0.display(), query.name),
                    authoritative: false,
                },
                Err(error) => StrategyOutcome::Failed(StrategyError::new(error)),
            }
        })
    }
}
