//! The names of this host, under which clients may address a server on it.

use std::fs;

use portolan_core::HostPattern;

/// Returns the host name, and the names that `/etc/hosts` gives to loopback addresses and to the address of the host name.
pub(crate) fn own_names() -> Vec<HostPattern> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    names(name.trim(), &hosts)
}

fn names(host_name: &str, hosts: &str) -> Vec<HostPattern> {
    let of_line = |line: &str| -> Vec<String> {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let address = words.next().and_then(|word| word.parse::<std::net::IpAddr>().ok());
        let names: Vec<String> = words.map(str::to_owned).collect();
        let is_loopback = address.is_some_and(|address| address.is_loopback());
        let is_named = names.iter().any(|name| name.eq_ignore_ascii_case(host_name));
        if is_loopback || is_named { names } else { Vec::new() }
    };
    let all = hosts.lines().flat_map(of_line).chain([host_name.to_owned()]);
    all.filter_map(|name| name.parse().ok())
        .filter(|name: &HostPattern| !name.is_wildcard())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_host_are_found_in_the_hosts_file() {
        let hosts = "127.0.0.1 localhost\n127.0.1.1 box.example.org box # Debian\n::1 ip6-localhost *\n\
                     10.0.0.7\tregistry.lan registry\n10.0.0.8 other\nbroken\n";
        let found =
            |name| -> Vec<String> { names(name, hosts).iter().map(ToString::to_string).collect() };
        let own = ["localhost", "box.example.org", "box", "ip6-localhost"];
        assert_eq!(found("box"), [&own[..], &["box"]].concat());
        let named = [&own[..], &["registry.lan", "registry", "registry"]].concat();
        assert_eq!(found("Registry"), named);
        assert_eq!(found(""), own);
    }
}
