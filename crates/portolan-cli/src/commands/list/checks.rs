//! `portolan list --checks`: the last results of the health checks, and late heartbeats.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use portolan_core::{CheckResults, ServiceEndpoint, ServiceId, escaped_line};

use super::age;
use crate::exit::Failure;
use crate::output;

/// Prints a row for each instance; without results if the server does not know any.
pub(super) fn print(
    services: &[ServiceEndpoint],
    results: &BTreeMap<ServiceId, CheckResults>,
    heartbeat_late: &BTreeSet<ServiceId>,
) -> Result<(), Failure> {
    let mut table = output::table([
        "NAME",
        "ADDRESS",
        "HEALTH",
        "CHECKED",
        "RESULT",
        "LATENCY",
        "IN A ROW",
        "SUCCESSES",
        "FAILURES",
        "HEARTBEAT",
        "ID",
        "REASON",
    ]);
    let now = Timestamp::now();
    for service in services {
        let results = results.get(&service.id);
        let cell = |text: fn(&CheckResults) -> String| results.map_or("-".to_owned(), text);
        table.add_row([
            service.name.to_string(),
            service.address(),
            service.health.to_string(),
            results.map_or("-".to_owned(), |it| age(now, it.checked_at)),
            cell(|it| it.result.to_string()),
            cell(|it| format!("{:.1}ms", it.latency.as_secs_f64() * 1000.0)),
            // One of the two is zero.
            cell(|it| (it.consecutive_successes.max(it.consecutive_failures)).to_string()),
            cell(|it| it.successes.to_string()),
            cell(|it| it.failures.to_string()),
            heartbeat(age(now, service.last_heartbeat), heartbeat_late.contains(&service.id)),
            service.id.to_string(),
            escaped_line(&service.health_reason).into_owned(),
        ]);
    }
    output::line(table.trim_fmt())
}

/// How long ago it was, and whether that is too long. The registry decides, as another server may have heard a later one.
fn heartbeat(age: String, is_late: bool) -> String {
    if is_late { format!("{age}, late") } else { age }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_heartbeat_is_marked() {
        assert_eq!(heartbeat("45s".to_owned(), true), "45s, late");
        assert_eq!(heartbeat("45s".to_owned(), false), "45s");
    }
}
