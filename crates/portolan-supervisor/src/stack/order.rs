//! The order of need: who must be there before whom.

use std::collections::{BTreeMap, BTreeSet};

use portolan_core::ServiceName;

use super::file::{InvalidStack, ServiceEntry};

/// The services in levels: each needs only services of the levels before it. Needs that the stack
/// does not hold are somebody else's to start, and do not count here.
pub(super) fn levels(
    services: &BTreeMap<ServiceName, ServiceEntry>,
) -> Result<Vec<Vec<ServiceName>>, InvalidStack> {
    let mut waiting: BTreeSet<&ServiceName> = services.keys().collect();
    let mut levels = Vec::new();
    while !waiting.is_empty() {
        let is_ready =
            |name: &ServiceName| !services[name].needs.iter().any(|need| waiting.contains(need));
        let ready: Vec<ServiceName> =
            waiting.iter().copied().filter(|name| is_ready(name)).cloned().collect();
        if ready.is_empty() {
            return Err(InvalidStack::Cycle { cycle: cycle_among(&waiting, services) });
        }
        waiting.retain(|name| !ready.contains(name));
        levels.push(ready);
    }
    Ok(levels)
}

/// Follows needs from anywhere until a service comes up again.
fn cycle_among(
    waiting: &BTreeSet<&ServiceName>,
    services: &BTreeMap<ServiceName, ServiceEntry>,
) -> Vec<String> {
    let mut path: Vec<&ServiceName> = waiting.first().copied().into_iter().collect();
    while let Some(last) = path.last() {
        let next = services[*last].needs.iter().find(|need| waiting.contains(need));
        let Some(next) = next else { break };
        let seen = path.iter().position(|name| *name == next);
        path.push(next);
        if let Some(start) = seen {
            return path[start..].iter().map(ToString::to_string).collect();
        }
    }
    path.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services(needs: &[(&str, &[&str])]) -> BTreeMap<ServiceName, ServiceEntry> {
        let entry = |needs: &[&str]| {
            let yaml = format!("{{command: x, needs: [{}]}}", needs.join(","));
            serde_saphyr::from_str::<ServiceEntry>(&yaml).unwrap()
        };
        needs.iter().map(|(name, needs)| (name.parse().unwrap(), entry(needs))).collect()
    }

    fn names(levels: Vec<Vec<ServiceName>>) -> Vec<Vec<String>> {
        let names = |level: Vec<ServiceName>| level.iter().map(ToString::to_string).collect();
        levels.into_iter().map(names).collect()
    }

    #[test]
    fn each_comes_after_what_it_needs() {
        let stack = services(&[
            ("worker", &["api", "redis"]),
            ("api", &["postgres"]),
            ("postgres", &[]),
            ("redis", &[]),
        ]);
        let expected = [vec!["postgres", "redis"], vec!["api"], vec!["worker"]];
        assert_eq!(names(levels(&stack).unwrap()), expected);
    }

    #[test]
    fn a_need_from_outside_holds_up_nobody() {
        let stack = services(&[("api", &["elsewhere"])]);
        assert_eq!(names(levels(&stack).unwrap()), [vec!["api"]]);
    }

    #[test]
    fn a_cycle_is_named_without_those_that_only_wait_for_it() {
        let stack = services(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])]);
        let error = levels(&stack).unwrap_err();
        assert_eq!(error, InvalidStack::Cycle { cycle: ["b", "c", "b"].map(String::from).into() });
    }
}
