//! The reservation table of this host.

use futures_util::FutureExt as _;
use futures_util::future::ready;
use portolan_port_allocator::Holder;

use super::Check;
use super::finding::Finding;
use crate::context::Context;

pub(super) const CHECK: Check =
    Check { name: "reservation_table", run: |context| ready(check(context)).boxed() };

fn check(context: &Context) -> Vec<Finding> {
    match context.allocator() {
        Ok(allocator) => holder_findings(&allocator.holders()),
        Err(failure) => {
            vec![Finding::from_failure("the reservation table cannot be used", &failure)]
        }
    }
}

fn holder_findings(holders: &[Holder]) -> Vec<Finding> {
    let count = holders.len();
    let whole =
        Finding::ok("the reservation table can be used", format_args!("{count} leases in force"));
    let left: Vec<String> = holders
        .iter()
        .filter(|holder| !holder.alive)
        .map(|holder| format!("{} {holder}", holder.port))
        .collect();
    let mut findings = vec![whole];
    if !left.is_empty() {
        findings.push(Finding::warning(
            "leases are held by children of a process that has ended",
            left.join(", "),
            "if the child should not run, end it: `portolan ports check PORT` shows who listens on the port",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use portolan_port_allocator::Depth;

    use super::*;
    use crate::commands::doctor::finding::Severity;

    #[test]
    fn lease_held_by_an_orphaned_child_is_a_warning() {
        let holder = |alive| Holder {
            port: 8080,
            protocol: "tcp".parse().unwrap(),
            service: "api".parse().unwrap(),
            scope: "default".parse().unwrap(),
            port_name: None,
            pid: 1,
            user: "ann".to_owned(),
            since: jiff::Timestamp::now(),
            alive,
            depth: Depth::Guarded,
        };
        assert_eq!(holder_findings(&[holder(true)]).len(), 1);
        let found = holder_findings(&[holder(true), holder(false)]);
        assert_eq!(found[1].severity, Severity::Warning);
        assert!(found[1].to_text("reservation_table").contains("8080 api"));
    }
}
