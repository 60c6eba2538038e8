//! Ports of pools that need a privilege.

use std::collections::BTreeSet;

use futures_util::FutureExt as _;
use futures_util::future::ready;
use portolan_port_allocator::{PortAllocator, PortState, SystemPorts};

use super::Check;
use super::finding::Finding;
use super::pools::{self, Named};
use crate::context::Context;

pub(super) const CHECK: Check =
    Check { name: "privileged", run: |context| ready(look(context)).boxed() };

fn look(context: &Context) -> Vec<Finding> {
    let start = SystemPorts::of_this_host().unprivileged_start();
    let pools = pools::of(&context.settings().port_allocator);
    let low =
        |pool: &Named<'_>| -> BTreeSet<u16> { pool.ports().range(..start).copied().collect() };
    let concerned: Vec<(Named<'_>, BTreeSet<u16>)> = pools
        .into_iter()
        .map(|pool| (pool, low(&pool)))
        .filter(|(_, low)| !low.is_empty())
        .collect();
    if concerned.is_empty() {
        let evidence = format!("they begin at {start} or above");
        return vec![Finding::ok("the ports of all pools need no privilege", evidence)];
    }
    // Why there is none, the check of the table tells.
    let Ok(allocator) = context.allocator() else { return Vec::new() };
    concerned.into_iter().map(|(pool, low)| of_pool(&allocator, pool, &low)).collect()
}

fn of_pool(allocator: &PortAllocator, pool: Named<'_>, low: &BTreeSet<u16>) -> Finding {
    let evidence = format!("{} in {}", pools::some(low), pool.name);
    let refused = |port: &u16| allocator.check(*port).state == PortState::NotPermitted;
    if !low.iter().any(refused) {
        return Finding::ok("privileged ports of a pool may be bound by this user", evidence);
    }
    let what = "this user may not bind ports of a pool";
    let remedy = "as root, let everybody bind them; or run the service with CAP_NET_BIND_SERVICE, or give the pool other ports";
    let finding = match low.len() == pool.ports().len() {
        true => Finding::error(what, evidence, remedy),
        false => Finding::warning(what, evidence, remedy),
    };
    let first = low.first().copied().unwrap_or_default();
    finding.command(format!("sysctl -w net.ipv4.ip_unprivileged_port_start={first}"))
}
