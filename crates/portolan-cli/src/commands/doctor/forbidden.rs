//! Ports of pools that are never granted, or that no browser opens.

use futures_util::FutureExt as _;
use futures_util::future::ready;
use portolan_core::is_blocked_by_browsers;
use portolan_port_allocator::PortAllocatorConfig;

use super::Check;
use super::finding::Finding;
use super::pools::{self, Named};

pub(super) const CHECK: Check = Check {
    name: "forbidden",
    run: |context| ready(look(&context.settings().port_allocator)).boxed(),
};

fn look(config: &PortAllocatorConfig) -> Vec<Finding> {
    let pools = pools::of(config);
    let reserved = pools.iter().filter_map(|pool| reserved(*pool, &config.reserved_ports));
    let findings: Vec<Finding> =
        reserved.chain(pools.iter().filter_map(|pool| blocked(*pool))).collect();
    match findings.is_empty() {
        true => vec![Finding::ok(
            "every port of every pool can be granted, and opened by a browser",
            format_args!("{} pools", pools.len()),
        )],
        false => findings,
    }
}

fn reserved(pool: Named<'_>, reserved: &[u16]) -> Option<Finding> {
    let ports = pool.ports();
    let never: Vec<&u16> = ports.iter().filter(|port| reserved.contains(port)).collect();
    let remedy = "take them out of port_allocator.reserved_ports, or give the pool other ports in port_allocator.port_ranges";
    let evidence = || {
        let default = pool.default_port();
        let is_default = if never.contains(&&default) { ", its default port" } else { "" };
        format!("{} in {}{is_default}", pools::some(never.iter().copied()), pool.name)
    };
    match (never.len(), ports.len()) {
        (0, _) => None,
        (some, all) if some == all => {
            Some(Finding::error("a pool has no port that is ever granted", evidence(), remedy))
        }
        _ => Some(Finding::warning("ports of a pool are never granted", evidence(), remedy)),
    }
}

fn blocked(pool: Named<'_>) -> Option<Finding> {
    let ports = pool.ports();
    let refused: Vec<&u16> = ports.iter().filter(|port| is_blocked_by_browsers(**port)).collect();
    (pool.speaks_http() && !refused.is_empty()).then(|| {
        Finding::warning(
            "browsers refuse ports of a pool that is for what they open",
            format_args!("{} in {}", pools::some(refused), pool.name),
            "give the pool other ports in port_allocator.port_ranges, or say `http: false` there where no browser is meant",
        )
    })
}

#[cfg(test)]
mod tests {
    use portolan_core::PortRange;

    use super::*;
    use crate::commands::doctor::finding::Severity;

    fn findings(pool: &str, start: u16, end: u16) -> Vec<(Severity, String)> {
        let pools = [(pool.to_owned(), PortRange::known(start, end).into())];
        let config = PortAllocatorConfig {
            port_ranges: pools.into(),
            services: std::collections::BTreeMap::new(),
            reserved_ports: vec![443, 9000],
            ..PortAllocatorConfig::default()
        };
        let told = |finding: Finding| (finding.severity, finding.for_people("forbidden"));
        look(&config).into_iter().map(told).collect()
    }

    #[test]
    fn the_pools_of_the_specification_are_well() {
        assert_eq!(look(&PortAllocatorConfig::default())[0].severity, Severity::Ok);
    }

    #[test]
    fn a_reserved_port_is_a_warning_and_a_pool_of_nothing_else_an_error() {
        let some = findings("mine", 8999, 9001);
        assert!(some[0].0 == Severity::Warning && some[0].1.contains("9000 in mine\n"), "{some:?}");
        let all = findings("mine", 443, 443);
        assert!(all[0].0 == Severity::Error && all[0].1.contains("default port"), "{all:?}");
    }

    #[test]
    fn what_browsers_refuse_matters_where_they_are_meant_only() {
        let web = findings("websocket", 6660, 6670);
        assert!(web[0].0 == Severity::Warning && web[0].1.contains("6665, 6666"), "{web:?}");
        let other = findings("irc", 6660, 6670);
        assert_eq!(other[0].0, Severity::Ok);
    }
}
