//! Why the store `consul` cannot be used.

use std::borrow::Cow;

use portolan_consul::ConsulError;
use portolan_core::Remedy;

/// Why the store cannot be used at the moment, or at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum StoreFault {
    /// A call failed.
    #[error(transparent)]
    Consul(#[from] ConsulError),
    /// The prefix holds keys of something else. Permanent.
    #[error(
        "{prefix} is not a registry of Portolan: it has keys such as {key:?}, but no key {prefix}/format"
    )]
    ForeignPrefix { prefix: String, key: String },
    /// The prefix holds a registry in another format. Permanent.
    #[error(
        "the format of the registry {prefix} is {found:?}, this version reads and writes {:?}",
        super::FORMAT
    )]
    OtherFormat { prefix: String, found: String },
}

// === impl StoreFault ===

impl StoreFault {
    /// Whether only a person can repair it.
    pub(super) fn is_permanent(&self) -> bool {
        match self {
            Self::Consul(error) => !error.is_unreachable(),
            Self::ForeignPrefix { .. } | Self::OtherFormat { .. } => true,
        }
    }
}

impl Remedy for StoreFault {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Consul(error) => error.remedy(),
            Self::ForeignPrefix { .. } => {
                Some("set service_registry.consul.prefix to one that nothing else uses".into())
            }
            Self::OtherFormat { .. } => {
                Some("use the version of Portolan that wrote it, or another prefix".into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_texts_and_remedies() {
        let prefix = || "portolan".to_owned();
        let faults = [
            StoreFault::Consul(ConsulError::SessionGone),
            StoreFault::ForeignPrefix { prefix: prefix(), key: "portolan/jobs/".into() },
            StoreFault::OtherFormat { prefix: prefix(), found: "portolan 2".into() },
        ];
        insta::assert_snapshot!(faults.map(|fault| fault.with_remedy()).join("\n"));
    }
}
