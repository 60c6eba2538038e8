//! How far an answer can be relied on: who could have made it.

use std::fmt;

use portolan_broadcast::BroadcastConfig;

use crate::strategy::StrategyKind;

/// Who could have made what a strategy says, the most trustworthy first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Trust {
    /// This host: its configuration, its leases, or the program itself.
    Local,
    /// A registry that requires a token.
    Authenticated,
    /// A holder of the key of the broadcast channel.
    Signed,
    /// Anybody in the network, or any user of this host.
    Unsigned,
}

/// What a client knows of its sources.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sources {
    /// Whether there is a token for the registry.
    has_token: bool,
    /// Whether messages on the broadcast channel are signed.
    is_signed: bool,
    /// Whether the strategies are named, so that unsigned ones are wanted.
    are_named: bool,
}

// === impl Trust ===

impl Trust {
    /// Returns the name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Authenticated => "authenticated",
            Self::Signed => "signed",
            Self::Unsigned => "unsigned",
        }
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

// === impl Sources ===

impl Sources {
    pub(crate) fn new(has_token: bool, broadcast: &BroadcastConfig, are_named: bool) -> Self {
        Self { has_token, is_signed: broadcast.is_signed(), are_named }
    }

    /// Returns how far a built-in strategy can be relied on.
    pub(crate) fn trust_of(self, kind: &StrategyKind) -> Trust {
        match kind.name {
            "registry" if self.has_token => Trust::Authenticated,
            // By the certificate of the API server.
            "kubernetes" => Trust::Authenticated,
            "broadcast" if self.is_signed => Trust::Signed,
            "registry" | "broadcast" | "dns" => Trust::Unsigned,
            // A port without a lease is weighed by its proof.
            _ => Trust::Local,
        }
    }

    /// Whether what is unsigned does not count: there is a secret with which others could be told from the network, and
    /// the strategies are not named. A registry is at an address of the configuration or of this host.
    pub(crate) fn is_off(self, kind: &StrategyKind, trust: Trust) -> bool {
        self.are_unsigned_off() && trust == Trust::Unsigned && kind.name != "registry"
    }

    /// Whether a port without a lease, on which any user of this host can listen, does not count.
    pub(crate) fn are_unsigned_off(self) -> bool {
        self.has_secret() && !self.are_named
    }

    /// Whether there is a token or a key.
    pub(crate) fn has_secret(self) -> bool {
        self.has_token || self.is_signed
    }
}
