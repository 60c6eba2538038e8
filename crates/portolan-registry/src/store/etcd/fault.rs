//! Why the store `etcd` cannot be used.

use portolan_etcd::EtcdError;

use crate::store::remote;

/// Why the store cannot be used at the moment, or at all.
pub(super) type StoreFault = remote::StoreFault<EtcdError>;

impl remote::CallError for EtcdError {
    fn is_unreachable(&self) -> bool {
        self.is_unreachable()
    }
}

#[cfg(test)]
mod tests {
    use portolan_core::Remedy;

    use super::*;
    use crate::store::etcd::NAME;

    #[test]
    fn fault_texts_and_remedies() {
        let prefix = || "/portolan".to_owned();
        let faults = [
            StoreFault::Call(EtcdError::LeaseGone),
            StoreFault::ForeignPrefix {
                store: NAME,
                prefix: prefix(),
                key: "/portolan/jobs/1".into(),
            },
            StoreFault::OtherFormat { prefix: prefix(), found: "portolan 2".into() },
        ];
        insta::assert_snapshot!(faults.map(|fault| fault.with_remedy()).join("\n"));
    }
}
