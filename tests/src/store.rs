//! The stores over which a test can run.

use anyhow::Result;

use crate::env::TestEnv;
use crate::etcd;

/// A store of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    Memory,
    #[cfg_attr(not(feature = "full"), expect(dead_code, reason = "not built in"))]
    Etcd,
}

// === impl Store ===

impl Store {
    /// The stores that are built in.
    pub(crate) const ALL: &[Self] = &[
        Self::Memory,
        #[cfg(feature = "full")]
        Self::Etcd,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Etcd => "etcd",
        }
    }

    /// Starts the server of the store, and has every program of the test use it.
    pub(crate) fn begin(self, env: &mut TestEnv) -> Result<()> {
        match self {
            Self::Memory => Ok(()),
            Self::Etcd => {
                let server = etcd::start(env)?;
                let endpoints = format!("[\"{}\"]", etcd::ETCD);
                let settings = [
                    ("PORTOLAN_SERVICE_REGISTRY__STORAGE_BACKEND", "etcd".to_owned()),
                    ("PORTOLAN_SERVICE_REGISTRY__ETCD__ENDPOINTS", endpoints),
                ];
                env.use_store(server, &settings);
                Ok(())
            }
        }
    }
}
