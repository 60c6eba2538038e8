//! Pools that share ports.

use futures_util::FutureExt as _;
use futures_util::future::ready;
use portolan_port_allocator::PortAllocatorConfig;

use super::Check;
use super::finding::Finding;
use super::pools::{self, Named};

pub(super) const CHECK: Check = Check {
    name: "pools",
    run: |context| ready(vec![look(&context.settings().port_allocator)]).boxed(),
};

fn look(config: &PortAllocatorConfig) -> Finding {
    let pools = pools::of(config);
    let pairs = pools.iter().enumerate().flat_map(|(at, one)| {
        let others = pools[at + 1..].iter();
        others.filter_map(move |other| shared(*one, *other))
    });
    let shared: Vec<String> = pairs.collect();
    let count = pools.len();
    match shared.is_empty() {
        true => Finding::ok("no pool takes another's ports", format_args!("{count} pools")),
        false => Finding::warning(
            "pools share ports, and the services of one can use up the other's",
            shared.join("; "),
            "give each of them ports of its own in port_allocator.port_ranges",
        ),
    }
}

/// What two pools share, unless the specification has it so.
fn shared(one: Named<'_>, other: Named<'_>) -> Option<String> {
    if one.is_built_in() && other.is_built_in() {
        return None;
    }
    let (left, right) = (one.ports(), other.ports());
    let both: Vec<&u16> = left.intersection(&right).collect();
    let (one, other) = (one.name, other.name);
    (!both.is_empty()).then(|| format!("{one} and {other} share {}", pools::some(both)))
}

#[cfg(test)]
mod tests {
    use portolan_core::PortRange;

    use super::*;
    use crate::commands::doctor::finding::Severity;

    #[test]
    fn the_pools_of_the_specification_share_what_they_should() {
        assert_eq!(look(&PortAllocatorConfig::default()).severity, Severity::Ok);
    }

    #[test]
    fn a_pool_over_another_is_named_with_the_ports_that_they_share() {
        let mut config = PortAllocatorConfig::default();
        config.port_ranges.insert("mine".to_owned(), PortRange::known(8098, 8110).into());
        let found = look(&config);
        assert_eq!(found.severity, Severity::Warning);
        let text = found.for_people("pools");
        assert!(text.contains("api and mine share 8098, 8099"), "{text}");
    }
}
