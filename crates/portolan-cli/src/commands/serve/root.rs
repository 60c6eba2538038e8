//! Whether the registry may run as root.
//!
//! It does not need to, and a fault in it would be one in a program with every right that other hosts can reach. On loopback root is
//! accepted, because trials on a laptop and `portolan up` in a container run so, and no other host reaches it.

use std::fs;

use portolan_registry::RegistryConfig;

use crate::exit::Failure;

/// # Errors
/// This process has the rights of root, other hosts can reach the registry, and `service_registry.allow_root` is not set.
pub(super) fn check(config: &RegistryConfig) -> Result<(), Failure> {
    check_as(config, is_root())
}

fn check_as(config: &RegistryConfig, is_root: bool) -> Result<(), Failure> {
    let address = config.listen_address;
    if !is_root || config.allow_root || address.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    let message = format!(
        "the registry is to run as root and to listen on {address}, which other hosts can reach"
    );
    Err(Failure::usage(message).remedy(
        "run it as a user of its own (docs/systemd.md has a unit, a container has `--user`), or accept it with --allow-root",
    ))
}

/// Whether this process is root outside of its user namespace, too: in a rootless container it is another user there.
fn is_root() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    rustix::process::geteuid().is_root() && is_identity(&map)
}

/// Whether user 0 is user 0 in the parent namespace (user_namespaces(7)); true if the system does not say.
fn is_identity(map: &str) -> bool {
    let outside = map.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()? == "0").then(|| words.next())?
    });
    outside.is_none_or(|outside| outside == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(listen: &str, allow_root: bool) -> RegistryConfig {
        let listen_address = listen.parse().unwrap();
        RegistryConfig { listen_address, allow_root, ..RegistryConfig::default() }
    }

    #[test]
    fn root_is_refused_where_other_hosts_reach_the_registry_unless_it_is_requested() {
        for open in ["0.0.0.0:7000", "[::]:7000", "10.0.0.1:7000"] {
            let failure = check_as(&config(open, false), true).unwrap_err();
            assert!(failure.to_string().contains(open) && failure.remedy.is_some(), "{failure}");
            check_as(&config(open, true), true).unwrap();
            check_as(&config(open, false), false).unwrap();
        }
        for loopback in ["127.0.0.1:7000", "[::1]:7000", "[::ffff:127.0.0.1]:7000"] {
            check_as(&config(loopback, false), true).unwrap();
        }
        insta::assert_snapshot!(check_as(&config("0.0.0.0:7000", false), true).unwrap_err());
    }

    #[test]
    fn root_of_a_user_namespace_is_another_user_outside() {
        assert!(is_identity("         0          0 4294967295\n") && is_identity(""));
        assert!(!is_identity("         0       1000          1\n"));
        assert!(!is_identity(
            "         1     100001      65535\n         0       1000          1\n"
        ));
    }
}
