//! Topological sort of the services by their needs.

use std::collections::{BTreeMap, BTreeSet};

use portolan_core::ServiceName;

use super::error::InvalidStack;
use super::file::ServiceEntry;

/// Groups the services into levels. A service needs only services of earlier levels. Needs outside
/// the stack are ignored.
pub(super) fn levels(
    services: &BTreeMap<ServiceName, ServiceEntry>,
) -> Result<Vec<Vec<ServiceName>>, InvalidStack> {
    let mut waiting: BTreeSet<&ServiceName> = services.keys().collect();
    let mut levels = Vec::new();
    while !waiting.is_empty() {
        let is_ready =
            |name: &ServiceName| !services[name].needs.names().any(|need| waiting.contains(need));
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

/// Follows the needs until a service occurs a second time.
fn cycle_among(
    waiting: &BTreeSet<&ServiceName>,
    services: &BTreeMap<ServiceName, ServiceEntry>,
) -> Vec<String> {
    let mut path: Vec<&ServiceName> = waiting.first().copied().into_iter().collect();
    while let Some(last) = path.last() {
        let next = services[*last].needs.names().find(|need| waiting.contains(need));
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
    fn service_starts_after_its_needs() {
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
    fn need_outside_the_stack_is_ignored() {
        let stack = services(&[("api", &["elsewhere"])]);
        assert_eq!(names(levels(&stack).unwrap()), [vec!["api"]]);
    }

    #[test]
    fn cycle_error_names_only_members_of_the_cycle() {
        let stack = services(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])]);
        let error = levels(&stack).unwrap_err();
        assert_eq!(error, InvalidStack::Cycle { cycle: ["b", "c", "b"].map(String::from).into() });
    }
}
