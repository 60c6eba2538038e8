//! Pools in the range from which the system takes the ports of outgoing connections.

use futures_util::FutureExt as _;
use futures_util::future::ready;
use portolan_port_allocator::{EphemeralOverlap, PortAllocatorConfig, SystemPorts};

use super::Check;
use super::finding::Finding;

pub(super) const CHECK: Check = Check {
    name: "ephemeral",
    run: |context| ready(vec![look(&context.settings().port_allocator)]).boxed(),
};

fn look(config: &PortAllocatorConfig) -> Finding {
    let system = SystemPorts::of_this_host();
    let range = system.ephemeral_range();
    match EphemeralOverlap::find(config, &system) {
        None => Finding::ok(
            "no outgoing connection is given a port of a pool",
            format_args!("the ephemeral range is {range}"),
        ),
        Some(overlap) => Finding::warning(
            "outgoing connections may be given ports of these pools",
            format_args!("{overlap} in the ephemeral range {range}"),
            "as root, keep them from that now and after the next boot; or give the pools other ports",
        )
        .command(overlap.command())
        .command(overlap.lasting_command()),
    }
}
