//! Ports of pools that are reserved, or blocked by browsers.

use futures_util::FutureExt as _;
use futures_util::future::ready;
use portolan_core::is_blocked_by_browsers;
use portolan_port_allocator::PortAllocatorConfig;

use super::Check;
use super::finding::Finding;
use super::pool_helpers::{self, NamedPool};

pub(super) const CHECK: Check = Check {
    name: "browser_blocked",
    run: |context| ready(check(&context.settings().port_allocator)).boxed(),
};

fn check(config: &PortAllocatorConfig) -> Vec<Finding> {
    let pools = pool_helpers::all(config);
    let reserved = pools.iter().filter_map(|pool| reserved(*pool, &config.reserved_ports));
    let findings: Vec<Finding> =
        reserved.chain(pools.iter().filter_map(|pool| blocked(*pool))).collect();
    match findings.is_empty() {
        true => vec![Finding::ok(
            "no port of a pool is reserved, or blocked by browsers",
            format_args!("{} pools", pools.len()),
        )],
        false => findings,
    }
}

fn reserved(pool: NamedPool<'_>, reserved: &[u16]) -> Option<Finding> {
    let ports = pool.ports();
    let never: Vec<&u16> = ports.iter().filter(|port| reserved.contains(port)).collect();
    let remedy = "remove the ports from port_allocator.reserved_ports, or change the pool in port_allocator.port_ranges";
    let evidence = || {
        let default = pool.default_port();
        let is_default = if never.contains(&&default) { ", its default port" } else { "" };
        format!("{} in {}{is_default}", pool_helpers::summarize(never.iter().copied()), pool.name)
    };
    match (never.len(), ports.len()) {
        (0, _) => None,
        (some, all) if some == all => {
            Some(Finding::error("every port of a pool is reserved", evidence(), remedy))
        }
        _ => Some(Finding::warning(
            "ports of a pool are reserved and never granted",
            evidence(),
            remedy,
        )),
    }
}

fn blocked(pool: NamedPool<'_>) -> Option<Finding> {
    let ports = pool.ports();
    let refused: Vec<&u16> = ports.iter().filter(|port| is_blocked_by_browsers(**port)).collect();
    (pool.speaks_http() && !refused.is_empty()).then(|| {
        Finding::warning(
            "browsers block ports of an HTTP pool",
            format_args!("{} in {}", pool_helpers::summarize(refused), pool.name),
            "change the pool in port_allocator.port_ranges, or set `http: false` there if no browser connects to it",
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
        let text = |finding: Finding| (finding.severity, finding.to_text("browser_blocked"));
        check(&config).into_iter().map(text).collect()
    }

    #[test]
    fn default_pools_have_no_problem() {
        assert_eq!(check(&PortAllocatorConfig::default())[0].severity, Severity::Ok);
    }

    #[test]
    fn reserved_port_is_a_warning_and_fully_reserved_pool_is_an_error() {
        let some = findings("mine", 8999, 9001);
        assert!(some[0].0 == Severity::Warning && some[0].1.contains("9000 in mine\n"), "{some:?}");
        let all = findings("mine", 443, 443);
        assert!(all[0].0 == Severity::Error && all[0].1.contains("default port"), "{all:?}");
    }

    #[test]
    fn browser_blocked_ports_matter_in_http_pools_only() {
        let web = findings("websocket", 6660, 6670);
        assert!(web[0].0 == Severity::Warning && web[0].1.contains("6665, 6666"), "{web:?}");
        let other = findings("irc", 6660, 6670);
        assert_eq!(other[0].0, Severity::Ok);
    }
}
