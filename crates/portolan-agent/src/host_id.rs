//! A name that tells this host from others while it has no address of its own.

use std::fs;

use portolan_core::{Host, hex};
use sha2::{Digest as _, Sha256};

/// The number of hexadecimal digits of the name.
const DIGITS: usize = 16;
const DOMAIN: &[u8] = b"portolan host id";

/// Returns a name such as `host-2f7a9c0d41e6b853`, or `None` if the system has no id. It stays the same over
/// restarts, differs between network namespaces, and does not disclose the id of the machine, as machine-id(5)
/// requires.
pub(crate) fn host_id() -> Option<Host> {
    let machine = fs::read_to_string("/etc/machine-id")
        .or_else(|_| fs::read_to_string("/proc/sys/kernel/random/boot_id"))
        .ok()?;
    let namespace = fs::read_link("/proc/self/ns/net").unwrap_or_default();
    named(machine.trim(), &namespace.to_string_lossy())
}

fn named(machine: &str, namespace: &str) -> Option<Host> {
    let parts = [DOMAIN, machine.as_bytes(), namespace.as_bytes()];
    let digest = parts.iter().fold(Sha256::new(), |digest, part| {
        digest.chain_update(part.len().to_be_bytes()).chain_update(part)
    });
    let digest = hex::encode(&digest.finalize());
    format!("host-{}", digest.get(..DIGITS)?).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_and_namespaces_have_different_names_that_stay() {
        let name = |machine, namespace| named(machine, namespace).unwrap();
        assert_eq!(name("a", "net:[1]"), name("a", "net:[1]"));
        assert_ne!(name("a", "net:[1]"), name("a", "net:[2]"));
        assert_ne!(name("a", "net:[1]"), name("b", "net:[1]"));
        assert!(!name("4f1c0a97d2e86b35", "").to_string().contains("4f1c0a97d2e86b35"));
    }

    #[test]
    fn this_host_has_a_name() {
        assert_eq!(host_id(), host_id());
        assert!(host_id().is_some());
    }
}
