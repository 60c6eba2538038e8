//! The id of the network stack of this process, which tells whether a peer on loopback is on this host: a tunnel such
//! as `ssh -L` or `kubectl port-forward` brings requests of other hosts to loopback.

use std::fs;
use std::sync::OnceLock;

use portolan_core::hex;
use sha2::{Digest as _, Sha256};

/// The number of bytes of the digest that are used.
const BYTES: usize = 8;
const DOMAIN: &[u8] = b"portolan network id";

/// Returns the id: equal in all processes of a network namespace, different between hosts and after a boot. `None`
/// if the system does not say. It proves nothing, because any peer can send it.
pub fn network_id() -> Option<&'static str> {
    static ID: OnceLock<Option<String>> = OnceLock::new();
    ID.get_or_init(read).as_deref()
}

fn read() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/net").ok()?;
    Some(digest(boot.trim(), &namespace.to_string_lossy()))
}

fn digest(boot: &str, namespace: &str) -> String {
    let parts = [DOMAIN, boot.as_bytes(), &[0], namespace.as_bytes()];
    let digest = parts.iter().fold(Sha256::new(), |digest, part| digest.chain_update(part));
    hex::encode(&digest.finalize()[..BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boots_and_namespaces_have_different_ids() {
        assert_eq!(digest("a", "net:[1]"), digest("a", "net:[1]"));
        assert_ne!(digest("a", "net:[1]"), digest("a", "net:[2]"));
        assert_ne!(digest("a", "net:[1]"), digest("b", "net:[1]"));
        assert!(!digest("4f1c0a97", "net:[1]").contains("4f1c0a97"));
    }
}
