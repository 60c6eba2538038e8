//! Why a store over a cluster cannot be used.

use std::borrow::Cow;

use portolan_core::Remedy;

use crate::store::InspectError;

/// The value of the key `format`. Another format is another major version of the keys.
pub(crate) const FORMAT: &str = "portolan 1";

/// The error of a call to the cluster.
pub(crate) trait CallError: Remedy + std::error::Error + 'static {
    /// Whether the cluster may answer later.
    fn is_unreachable(&self) -> bool;
}

/// Why the store cannot be used at the moment, or at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreFault<E: CallError> {
    /// A call failed.
    #[error(transparent)]
    Call(#[from] E),
    /// The prefix holds keys of something else. Permanent.
    #[error(
        "{prefix} is not a registry of Portolan: it has keys such as {key:?}, but no key {prefix}/format"
    )]
    ForeignPrefix { store: &'static str, prefix: String, key: String },
    /// The prefix holds a registry in another format. Permanent.
    #[error(
        "the format of the registry {prefix} is {found:?}, this version reads and writes {FORMAT:?}"
    )]
    OtherFormat { prefix: String, found: String },
}

// === impl StoreFault ===

impl<E: CallError> StoreFault<E> {
    /// Whether only a person can repair it.
    pub(crate) fn is_permanent(&self) -> bool {
        match self {
            Self::Call(error) => !error.is_unreachable(),
            Self::ForeignPrefix { .. } | Self::OtherFormat { .. } => true,
        }
    }

    /// Checks what a prefix holds: nothing, or a registry in the format of this version. `format` is the value of its
    /// key for that, `other` is any of its keys.
    pub(crate) fn check_prefix(
        store: &'static str,
        prefix: &str,
        format: Option<&[u8]>,
        other: Option<&[u8]>,
    ) -> Result<(), Self> {
        let prefix = prefix.to_owned();
        match (format, other) {
            (Some(format), _) if format == FORMAT.as_bytes() => Ok(()),
            (Some(format), _) => Err(Self::OtherFormat { prefix, found: text(format, 80) }),
            (None, Some(other)) => {
                Err(Self::ForeignPrefix { store, prefix, key: text(other, 200) })
            }
            (None, None) => Ok(()),
        }
    }

    /// The fault of an inspection of this store.
    pub(crate) fn into_inspect_error(self, store: &'static str) -> InspectError {
        let (reason, remedy) = (self.to_string(), self.remedy().map(Into::into));
        match self.is_permanent() {
            true => InspectError::Unusable { store, reason, remedy },
            false => InspectError::Unreachable { store, reason, remedy },
        }
    }
}

impl<E: CallError> Remedy for StoreFault<E> {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Call(error) => error.remedy(),
            Self::ForeignPrefix { store, .. } => Some(
                format!("set service_registry.{store}.prefix to one that nothing else uses").into(),
            ),
            Self::OtherFormat { .. } => {
                Some("use the version of Portolan that wrote it, or another prefix".into())
            }
        }
    }
}

fn text(bytes: &[u8], length: usize) -> String {
    String::from_utf8_lossy(bytes).chars().take(length).collect()
}
