//! Whether there are ports left for outgoing connections.

use futures_util::FutureExt as _;
use futures_util::future::ready;
use portolan_port_allocator::{EphemeralUsage, SystemPorts};

use super::Check;
use super::finding::Finding;

pub(super) const CHECK: Check =
    Check { name: "connections", run: |_| ready(vec![look(&SystemPorts::of_this_host())]).boxed() };

/// From here on, in percent, connections to one and the same server may begin to fail.
const MUCH: usize = 50;
/// From here on they do.
const TOO_MUCH: usize = 90;

fn look(system: &SystemPorts) -> Finding {
    judge(EphemeralUsage::now(system), system.ephemeral_range())
}

fn judge(usage: EphemeralUsage, range: portolan_core::PortRange) -> Finding {
    let waiting = usage.time_wait.map(|count| format!("; {count} wait for the end (TIME_WAIT)"));
    let evidence = format!(
        "{} of {} ports of {range} in use{}",
        usage.in_use,
        usage.ports,
        waiting.unwrap_or_default()
    );
    let what = "connections use up the ephemeral range";
    let remedy =
        "reuse connections instead of opening one for each request; or, as root, widen the range";
    let wider = || "sysctl -w net.ipv4.ip_local_port_range='15000 60999'".to_owned();
    match usage.percent() {
        ..MUCH => Finding::ok("there are ports for outgoing connections", evidence),
        MUCH..TOO_MUCH => Finding::warning(what, evidence, remedy).command(wider()),
        TOO_MUCH.. => Finding::error(what, evidence, remedy).command(wider()),
    }
}

#[cfg(test)]
mod tests {
    use portolan_core::PortRange;

    use super::*;
    use crate::commands::doctor::finding::Severity;

    #[test]
    fn the_fuller_the_range_the_worse() {
        let severity = |in_use| {
            let usage = EphemeralUsage { ports: 100, in_use, time_wait: Some(3) };
            judge(usage, PortRange::known(1, 100)).severity
        };
        assert_eq!([0, 49].map(severity), [Severity::Ok; 2]);
        assert_eq!([50, 89].map(severity), [Severity::Warning; 2]);
        assert_eq!([90, 100].map(severity), [Severity::Error; 2]);
    }
}
