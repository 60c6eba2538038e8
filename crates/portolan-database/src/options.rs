//! How servers are chosen, and how long that may take.

use std::time::Duration;

use crate::{ClusterPin, TargetRole};

/// Which server is used, and how long a connection to one may take.
#[derive(Debug)]
pub struct ServerOptions {
    pub(crate) target: TargetRole,
    pub(crate) cluster: ClusterPin,
    pub(crate) acquire_timeout: Duration,
    pub(crate) attempt_timeout: Duration,
}

// === impl ServerOptions ===

impl ServerOptions {
    /// Options for servers in this role.
    pub fn new(target: TargetRole) -> Self {
        Self { target, ..Self::default() }
    }

    /// The role.
    pub fn target(&self) -> TargetRole {
        self.target
    }

    /// Sets which data a server must have. Default: that of the first server that is used.
    pub fn cluster(mut self, cluster: ClusterPin) -> Self {
        self.cluster = cluster;
        self
    }

    /// Sets how long a server in the role is looked for before a connection fails. Default 5 s.
    pub fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.acquire_timeout = timeout;
        self
    }

    /// Sets how long one server may take to accept a connection and to say what it is, before the next one is tried.
    /// Default 1 s.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            target: TargetRole::default(),
            cluster: ClusterPin::default(),
            acquire_timeout: Duration::from_secs(5),
            attempt_timeout: Duration::from_secs(1),
        }
    }
}
