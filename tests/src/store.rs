//! The stores over which a test can run.

use anyhow::Result;

use crate::consul;
use crate::env::TestEnv;
use crate::etcd;

/// A store of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    Memory,
    #[cfg_attr(not(feature = "full"), expect(dead_code, reason = "not built in"))]
    Etcd,
    #[cfg_attr(not(feature = "full"), expect(dead_code, reason = "not built in"))]
    Consul,
}

// === impl Store ===

impl Store {
    /// The stores that are built in.
    pub(crate) const ALL: &[Self] = &[
        Self::Memory,
        #[cfg(feature = "full")]
        Self::Etcd,
        #[cfg(feature = "full")]
        Self::Consul,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Etcd => "etcd",
            Self::Consul => "consul",
        }
    }

    /// Starts the server of the store, and has every program of the test use it.
    pub(crate) fn begin(self, env: &mut TestEnv) -> Result<()> {
        let (server, setting) = match self {
            Self::Memory => return Ok(()),
            Self::Etcd => {
                let endpoints = format!("[\"{}\"]", etcd::ETCD);
                (etcd::start(env)?, ("PORTOLAN_SERVICE_REGISTRY__ETCD__ENDPOINTS", endpoints))
            }
            Self::Consul => {
                let url = consul::CONSUL.to_owned();
                (consul::start(env)?, ("PORTOLAN_SERVICE_REGISTRY__CONSUL__URL", url))
            }
        };
        let backend = ("PORTOLAN_SERVICE_REGISTRY__STORAGE_BACKEND", self.name().to_owned());
        env.use_store(self.name(), server, &[backend, setting]);
        Ok(())
    }
}
