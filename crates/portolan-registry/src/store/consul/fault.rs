//! Why the store `consul` cannot be used.

use portolan_consul::ConsulError;

use crate::store::remote;

/// Why the store cannot be used at the moment, or at all.
pub(super) type StoreFault = remote::StoreFault<ConsulError>;

impl remote::CallError for ConsulError {
    fn is_unreachable(&self) -> bool {
        self.is_unreachable()
    }
}

#[cfg(test)]
mod tests {
    use portolan_core::Remedy;

    use super::*;
    use crate::store::consul::NAME;

    #[test]
    fn fault_texts_and_remedies() {
        let prefix = || "portolan".to_owned();
        let faults = [
            StoreFault::Call(ConsulError::SessionGone),
            StoreFault::ForeignPrefix {
                store: NAME,
                prefix: prefix(),
                key: "portolan/jobs/".into(),
            },
            StoreFault::OtherFormat { prefix: prefix(), found: "portolan 2".into() },
        ];
        insta::assert_snapshot!(faults.map(|fault| fault.with_remedy()).join("\n"));
    }
}
