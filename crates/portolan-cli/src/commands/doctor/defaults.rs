//! Pools whose ports are taken: their default port by somebody who never asked, or all of them.

use std::collections::BTreeSet;

use futures_util::FutureExt as _;
use futures_util::future::ready;
use portolan_port_allocator::{PortAllocatorConfig, PortListener, PortUsage, SocketProtocol};

use super::Check;
use super::finding::Finding;
use super::pools::{self, Named};
use crate::context::Context;

pub(super) const CHECK: Check =
    Check { name: "default ports", run: |context| ready(look(context)).boxed() };

fn look(context: &Context) -> Vec<Finding> {
    // Why there is none, the check of the table tells.
    let Ok(allocator) = context.allocator() else { return Vec::new() };
    judge(&context.settings().port_allocator, &allocator.port_usage())
}

fn judge(config: &PortAllocatorConfig, usage: &PortUsage) -> Vec<Finding> {
    let pools = pools::of(config);
    let strangers = pools.iter().filter_map(|pool| stranger(*pool, usage));
    let findings: Vec<Finding> =
        strangers.chain(pools.iter().filter_map(|pool| used_up(*pool, usage))).collect();
    match findings.is_empty() {
        true => vec![Finding::ok(
            "no stranger has the default port of a pool",
            format_args!("{} pools, {} strangers", pools.len(), usage.foreign.len()),
        )],
        false => findings,
    }
}

fn stranger(pool: Named<'_>, usage: &PortUsage) -> Option<Finding> {
    let port = pool.default_port();
    let on_it = in_tcp(usage).filter(|stranger| stranger.port == port);
    let named: Vec<String> = on_it.map(ToString::to_string).collect();
    (!named.is_empty()).then(|| {
        Finding::warning(
            "a stranger has the default port of a pool, and services get another",
            format_args!("{}: {}", pool.name, named.join(", ")),
            "start it with `portolan run`, so that it has a lease and is found; or end it",
        )
    })
}

/// One of UDP alone is in nobody's way.
fn in_tcp(usage: &PortUsage) -> impl Iterator<Item = &PortListener> {
    usage.foreign.iter().filter(|stranger| stranger.protocol == SocketProtocol::Tcp)
}

fn used_up(pool: Named<'_>, usage: &PortUsage) -> Option<Finding> {
    let leased: BTreeSet<u16> = usage.leases.iter().map(|lease| lease.holder.port).collect();
    let taken: BTreeSet<u16> = in_tcp(usage).map(|stranger| stranger.port).collect();
    let ports = pool.ports();
    let is_free = |port: &u16| !leased.contains(port) && !taken.contains(port);
    (!ports.iter().any(is_free)).then(|| {
        let held = ports.intersection(&leased).count();
        Finding::error(
            "a pool has no port left",
            format_args!("{}: {held} leased, {} by strangers", pool.name, ports.len() - held),
            "widen its range in port_allocator.port_ranges, or end what `portolan ports list` shows on it",
        )
    })
}

#[cfg(test)]
mod tests {
    use portolan_core::PortRange;

    use super::*;
    use crate::commands::doctor::finding::Severity;

    fn strangers(ports: &[u16]) -> PortUsage {
        let stranger = |port: &u16| PortListener {
            port: *port,
            protocol: SocketProtocol::Tcp,
            address: [127, 0, 0, 1].into(),
            process: None,
            user: "ann".to_owned(),
        };
        PortUsage { leases: Vec::new(), foreign: ports.iter().map(stranger).collect() }
    }

    #[test]
    fn a_stranger_on_a_default_port_is_named_and_one_beside_it_is_not() {
        let config = PortAllocatorConfig::default();
        let found = judge(&config, &strangers(&[5432]));
        assert_eq!((found.len(), found[0].severity), (1, Severity::Warning));
        let text = found[0].for_people("defaults");
        assert!(text.contains("database: a process of user ann on 127.0.0.1:5432"), "{text}");
        assert_eq!(judge(&config, &strangers(&[5433]))[0].severity, Severity::Ok);
    }

    #[test]
    fn a_pool_without_a_port_left_is_an_error() {
        let mut config = PortAllocatorConfig::default();
        config.port_ranges.insert("mine".to_owned(), PortRange::known(700, 701).into());
        assert_eq!(judge(&config, &strangers(&[700])).len(), 1);
        let found = judge(&config, &strangers(&[700, 701]));
        assert_eq!(found[1].severity, Severity::Error);
    }
}
