//! Pools whose default port, or every port, is in use by a foreign process.

use std::collections::BTreeSet;

use futures_util::FutureExt as _;
use futures_util::future::ready;
use portolan_port_allocator::{PortAllocatorConfig, PortListener, PortUsage, SocketProtocol};

use super::Check;
use super::finding::Finding;
use super::pool_helpers::{self, NamedPool};
use crate::context::Context;

pub(super) const CHECK: Check =
    Check { name: "default_ports", run: |context| ready(check(context)).boxed() };

fn check(context: &Context) -> Vec<Finding> {
    // The check `reservation_table` reports the error.
    let Ok(allocator) = context.allocator() else { return Vec::new() };
    evaluate(&context.settings().port_allocator, &allocator.port_usage())
}

fn evaluate(config: &PortAllocatorConfig, usage: &PortUsage) -> Vec<Finding> {
    let pools = pool_helpers::all(config);
    let foreign = pools.iter().filter_map(|pool| foreign_listener(*pool, usage));
    let findings: Vec<Finding> =
        foreign.chain(pools.iter().filter_map(|pool| exhausted(*pool, usage))).collect();
    match findings.is_empty() {
        true => vec![Finding::ok(
            "no foreign process uses the default port of a pool",
            format_args!("{} pools, {} foreign listeners", pools.len(), usage.foreign.len()),
        )],
        false => findings,
    }
}

fn foreign_listener(pool: NamedPool<'_>, usage: &PortUsage) -> Option<Finding> {
    let port = pool.default_port();
    let listeners = in_tcp(usage).filter(|listener| listener.port == port);
    let named: Vec<String> = listeners.map(ToString::to_string).collect();
    (!named.is_empty()).then(|| {
        Finding::warning(
            "a foreign process uses the default port of a pool, so that services get another port",
            format_args!("{}: {}", pool.name, named.join(", ")),
            "start it with `portolan run`, so that it has a lease and can be discovered, or end it",
        )
    })
}

/// Returns the foreign TCP listeners: a UDP socket does not block a service.
fn in_tcp(usage: &PortUsage) -> impl Iterator<Item = &PortListener> {
    usage.foreign.iter().filter(|listener| listener.protocol == SocketProtocol::Tcp)
}

fn exhausted(pool: NamedPool<'_>, usage: &PortUsage) -> Option<Finding> {
    let leased: BTreeSet<u16> = usage.leases.iter().map(|lease| lease.holder.port).collect();
    let taken: BTreeSet<u16> = in_tcp(usage).map(|listener| listener.port).collect();
    let ports = pool.ports();
    let is_free = |port: &u16| !leased.contains(port) && !taken.contains(port);
    (!ports.iter().any(is_free)).then(|| {
        let held = ports.intersection(&leased).count();
        Finding::error(
            "a pool has no free port",
            format_args!("{}: {held} leased, {} used by foreign processes", pool.name, ports.len() - held),
            "widen its range in port_allocator.port_ranges, or end processes that `portolan ports list` shows",
        )
    })
}

#[cfg(test)]
mod tests {
    use portolan_core::PortRange;

    use super::*;
    use crate::commands::doctor::finding::Severity;

    fn usage(ports: &[u16]) -> PortUsage {
        let listener = |port: &u16| PortListener {
            port: *port,
            protocol: SocketProtocol::Tcp,
            address: [127, 0, 0, 1].into(),
            process: None,
            user: "ann".to_owned(),
        };
        PortUsage { leases: Vec::new(), foreign: ports.iter().map(listener).collect() }
    }

    #[test]
    fn only_a_foreign_listener_on_a_default_port_is_a_warning() {
        let config = PortAllocatorConfig::default();
        let found = evaluate(&config, &usage(&[5432]));
        assert_eq!((found.len(), found[0].severity), (1, Severity::Warning));
        let text = found[0].to_text("default_ports");
        assert!(text.contains("database: a process of user ann on 127.0.0.1:5432"), "{text}");
        assert_eq!(evaluate(&config, &usage(&[5433]))[0].severity, Severity::Ok);
    }

    #[test]
    fn pool_without_a_free_port_is_an_error() {
        let mut config = PortAllocatorConfig::default();
        config.port_ranges.insert("mine".to_owned(), PortRange::known(700, 701).into());
        assert_eq!(evaluate(&config, &usage(&[700])).len(), 1);
        let found = evaluate(&config, &usage(&[700, 701]));
        assert_eq!(found[1].severity, Severity::Error);
    }
}
