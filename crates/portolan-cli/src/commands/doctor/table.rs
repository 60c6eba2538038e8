//! The table of this host's reservations.

use futures_util::FutureExt as _;
use futures_util::future::ready;
use portolan_port_allocator::Holder;

use super::Check;
use super::finding::{Finding, Severity};
use crate::context::Context;

pub(super) const CHECK: Check =
    Check { name: "table", run: |context| ready(look(context)).boxed() };

fn look(context: &Context) -> Vec<Finding> {
    match context.allocator() {
        Ok(allocator) => of_holders(&allocator.holders()),
        Err(failure) => {
            let what = "the table of reservations cannot be used";
            vec![Finding::of(Severity::Error, what, &failure.message)]
        }
    }
}

fn of_holders(holders: &[Holder]) -> Vec<Finding> {
    let count = holders.len();
    let whole =
        Finding::ok("the table of reservations is whole", format_args!("{count} leases in force"));
    let left: Vec<String> = holders
        .iter()
        .filter(|holder| !holder.alive)
        .map(|holder| format!("{} {holder}", holder.port))
        .collect();
    let mut findings = vec![whole];
    if !left.is_empty() {
        findings.push(Finding::warning(
            "ports are kept by a child whose parent is gone",
            left.join(", "),
            "where it should run no longer, end it: `portolan ports check PORT` tells who listens; its lease ends with it",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use portolan_port_allocator::Depth;

    use super::*;

    #[test]
    fn a_lease_that_only_a_child_keeps_is_named() {
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
        assert_eq!(of_holders(&[holder(true)]).len(), 1);
        let found = of_holders(&[holder(true), holder(false)]);
        assert_eq!(found[1].severity, Severity::Warning);
        assert!(found[1].for_people("table").contains("8080 api"));
    }
}
