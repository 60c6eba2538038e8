//! Pools that overlap the ephemeral range, from which the kernel takes ports for outgoing
//! connections.

use futures_util::FutureExt as _;
use futures_util::future::ready;
use portolan_port_allocator::{EphemeralOverlap, PortAllocatorConfig, SystemPorts};

use super::Check;
use super::finding::Finding;

pub(super) const CHECK: Check = Check {
    name: "ephemeral_overlap",
    run: |context| ready(vec![check(&context.settings().port_allocator)]).boxed(),
};

fn check(config: &PortAllocatorConfig) -> Finding {
    let system = SystemPorts::read();
    let range = system.ephemeral_range();
    match EphemeralOverlap::find(config, &system) {
        None => Finding::ok(
            "no pool overlaps the ephemeral range",
            format_args!("the ephemeral range is {range}"),
        ),
        Some(overlap) => Finding::warning(
            "outgoing connections may take ports of pools",
            format_args!("{overlap} in the ephemeral range {range}"),
            "as root, exclude the ports from the ephemeral range, now and after the next boot, or change the pools",
        )
        .command(overlap.command())
        .command(overlap.lasting_command()),
    }
}
