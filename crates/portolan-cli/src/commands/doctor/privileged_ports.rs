//! Ports of pools that only privileged processes may bind.

use std::collections::BTreeSet;

use futures_util::FutureExt as _;
use futures_util::future::ready;
use portolan_port_allocator::{PortAllocator, PortState, SystemPorts};

use super::Check;
use super::finding::Finding;
use super::pool_helpers::{self, NamedPool};
use crate::context::Context;

pub(super) const CHECK: Check =
    Check { name: "privileged_ports", run: |context| ready(check(context)).boxed() };

fn check(context: &Context) -> Vec<Finding> {
    let start = SystemPorts::read().unprivileged_start();
    let pools = pool_helpers::all(&context.settings().port_allocator);
    let low =
        |pool: &NamedPool<'_>| -> BTreeSet<u16> { pool.ports().range(..start).copied().collect() };
    let privileged: Vec<(NamedPool<'_>, BTreeSet<u16>)> = pools
        .into_iter()
        .map(|pool| (pool, low(&pool)))
        .filter(|(_, low)| !low.is_empty())
        .collect();
    if privileged.is_empty() {
        let evidence = format!("every port is {start} or higher");
        return vec![Finding::ok("no pool has privileged ports", evidence)];
    }
    // The check `reservation_table` reports the error.
    let Ok(allocator) = context.allocator() else { return Vec::new() };
    privileged.into_iter().map(|(pool, low)| pool_finding(&allocator, pool, &low)).collect()
}

fn pool_finding(allocator: &PortAllocator, pool: NamedPool<'_>, low: &BTreeSet<u16>) -> Finding {
    let evidence = format!("{} in {}", pool_helpers::summarize(low), pool.name);
    let is_denied = |port: &u16| allocator.check(*port).state == PortState::NotPermitted;
    if !low.iter().any(is_denied) {
        return Finding::ok("this user may bind the privileged ports of a pool", evidence);
    }
    let what = "this user may not bind privileged ports of a pool";
    let remedy = "as root, lower the first unprivileged port, or run the service with CAP_NET_BIND_SERVICE, or change the pool";
    let finding = if low.len() == pool.ports().len() {
        Finding::error(what, evidence, remedy)
    } else {
        Finding::warning(what, evidence, remedy)
    };
    let first = low.first().copied().unwrap_or_default();
    finding.command(format!("sysctl -w net.ipv4.ip_unprivileged_port_start={first}"))
}
