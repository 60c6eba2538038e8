//! The hosts file of the system (hosts(5)), which an operator of this host writes.

use std::net::IpAddr;

use hickory_resolver::Hosts;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use tracing::debug;

/// Returns the addresses of a name in the hosts file, which is read each time because it changes.
pub(super) fn addresses(name: &str) -> Vec<IpAddr> {
    match Hosts::from_system() {
        Ok(hosts) => addresses_in(&hosts, name),
        Err(error) => {
            debug!(%error, "Hosts file not readable");
            Vec::new()
        }
    }
}

fn addresses_in(hosts: &Hosts, name: &str) -> Vec<IpAddr> {
    let Ok(name) = Name::from_ascii(name.to_ascii_lowercase()) else { return Vec::new() };
    let lookup = |kind| hosts.lookup_static_host(&Query::query(name.clone(), kind));
    let found = [RecordType::A, RecordType::AAAA].into_iter().filter_map(lookup);
    found
        .flat_map(|lookup| {
            let addresses = lookup.answers().iter().filter_map(|record| record.data.ip_addr());
            addresses.collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_file_maps_names_to_every_address() {
        let mut hosts = Hosts::default();
        let file = "127.0.0.9 postgres pg # comment\n::9 postgres\n10.0.0.1 other\nbad line\n";
        hosts.read_hosts_conf(file.as_bytes()).unwrap();
        let expected: Vec<IpAddr> = ["127.0.0.9", "::9"].map(|ip| ip.parse().unwrap()).into();
        assert_eq!(addresses_in(&hosts, "postgres"), expected);
        assert_eq!(addresses_in(&hosts, "Postgres"), expected, "DNS names ignore case");
        assert_eq!(addresses_in(&hosts, "redis"), [] as [IpAddr; 0]);
    }
}
