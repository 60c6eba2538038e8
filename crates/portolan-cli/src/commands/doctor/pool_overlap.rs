//! Pools that share ports.

use futures_util::FutureExt as _;
use futures_util::future::ready;
use portolan_port_allocator::PortAllocatorConfig;

use super::Check;
use super::finding::Finding;
use super::pool_helpers::{self, NamedPool};

pub(super) const CHECK: Check = Check {
    name: "pool_overlap",
    run: |context| ready(vec![check(&context.settings().port_allocator)]).boxed(),
};

fn check(config: &PortAllocatorConfig) -> Finding {
    let pools = pool_helpers::all(config);
    let pairs = pools.iter().enumerate().flat_map(|(at, one)| {
        let others = pools[at + 1..].iter();
        others.filter_map(move |other| shared(*one, *other))
    });
    let shared: Vec<String> = pairs.collect();
    let count = pools.len();
    match shared.is_empty() {
        true => Finding::ok("no two pools share ports", format_args!("{count} pools")),
        false => Finding::warning(
            "pools share ports, so that services of one pool can use up the other",
            shared.join("; "),
            "give each pool its own ports in port_allocator.port_ranges",
        ),
    }
}

/// Returns the ports that two pools share, unless both are built-in pools.
fn shared(one: NamedPool<'_>, other: NamedPool<'_>) -> Option<String> {
    if one.is_built_in() && other.is_built_in() {
        return None;
    }
    let (left, right) = (one.ports(), other.ports());
    let both: Vec<&u16> = left.intersection(&right).collect();
    let (one, other) = (one.name, other.name);
    (!both.is_empty()).then(|| format!("{one} and {other} share {}", pool_helpers::summarize(both)))
}

#[cfg(test)]
mod tests {
    use portolan_core::PortRange;

    use super::*;
    use crate::commands::doctor::finding::Severity;

    #[test]
    fn built_in_pools_have_no_finding() {
        assert_eq!(check(&PortAllocatorConfig::default()).severity, Severity::Ok);
    }

    #[test]
    fn overlapping_pools_are_named_with_their_shared_ports() {
        let mut config = PortAllocatorConfig::default();
        config.port_ranges.insert("mine".to_owned(), PortRange::known(8098, 8110).into());
        let found = check(&config);
        assert_eq!(found.severity, Severity::Warning);
        let text = found.to_text("pools");
        assert!(text.contains("api and mine share 8098, 8099"), "{text}");
    }
}
