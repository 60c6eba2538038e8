//! Whether the ephemeral range has ports left for outgoing connections.

use futures_util::FutureExt as _;
use futures_util::future::ready;
use portolan_host_facts::{EphemeralUsage, SystemPorts};

use super::Check;
use super::finding::Finding;

pub(super) const CHECK: Check =
    Check { name: "ephemeral_usage", run: |_| ready(vec![check(&SystemPorts::read())]).boxed() };

/// The usage in percent from which connections to a single server may fail.
const WARNING: usize = 50;
/// The usage in percent from which they do fail.
const ERROR: usize = 90;

fn check(system: &SystemPorts) -> Finding {
    evaluate(EphemeralUsage::read(system), system.ephemeral_range())
}

fn evaluate(usage: EphemeralUsage, range: portolan_core::PortRange) -> Finding {
    let waiting = usage.time_wait.map(|count| format!("; {count} in TIME_WAIT"));
    let evidence = format!(
        "{} of {} ports of {range} in use{}",
        usage.in_use,
        usage.ports,
        waiting.unwrap_or_default()
    );
    let what = "the ephemeral range is running out of ports";
    let remedy =
        "reuse connections instead of opening one for each request, or, as root, widen the range";
    let widen = || "sysctl -w net.ipv4.ip_local_port_range='15000 60999'".to_owned();
    match usage.percent() {
        ..WARNING => {
            Finding::ok("the ephemeral range has ports for outgoing connections", evidence)
        }
        WARNING..ERROR => Finding::warning(what, evidence, remedy).command(widen()),
        ERROR.. => Finding::error(what, evidence, remedy).command(widen()),
    }
}

#[cfg(test)]
mod tests {
    use portolan_core::PortRange;

    use super::*;
    use crate::commands::doctor::finding::Severity;

    #[test]
    fn severity_grows_with_the_usage() {
        let severity = |in_use| {
            let usage = EphemeralUsage { ports: 100, in_use, time_wait: Some(3) };
            evaluate(usage, PortRange::known(1, 100)).severity
        };
        assert_eq!([0, 49].map(severity), [Severity::Ok; 2]);
        assert_eq!([50, 89].map(severity), [Severity::Warning; 2]);
        assert_eq!([90, 100].map(severity), [Severity::Error; 2]);
    }
}
