//! Why the store `etcd` cannot be used.

use std::borrow::Cow;

use portolan_core::Remedy;
use portolan_etcd::EtcdError;

/// Why the store cannot be used at the moment, or at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum StoreFault {
    /// A call failed.
    #[error(transparent)]
    Etcd(#[from] EtcdError),
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

impl Remedy for StoreFault {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Etcd(error) => error.remedy(),
            Self::ForeignPrefix { .. } => {
                Some("set service_registry.etcd.prefix to one that nothing else uses".into())
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
        let prefix = || "/portolan".to_owned();
        let faults = [
            StoreFault::Etcd(EtcdError::LeaseGone),
            StoreFault::ForeignPrefix { prefix: prefix(), key: "/portolan/jobs/1".into() },
            StoreFault::OtherFormat { prefix: prefix(), found: "portolan 2".into() },
        ];
        insta::assert_snapshot!(faults.map(|fault| fault.with_remedy()).join("\n"));
    }
}
