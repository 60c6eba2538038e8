//! How the endpoints of a Service are distributed to slices. Pure functions.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The most endpoints of a slice: what the controllers of Kubernetes keep to, so that a change sends little.
pub(crate) const MOST_ENDPOINTS: usize = 100;

/// Distributes addresses to slices whose names begin with this prefix. An address stays in the slice that has it, so that one
/// change is a change of one slice.
pub(crate) fn distribute(
    prefix: &str,
    addresses: &BTreeSet<IpAddr>,
    known: &BTreeMap<String, Vec<IpAddr>>,
) -> BTreeMap<String, BTreeSet<IpAddr>> {
    let mut slices: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
    let mut placed = BTreeSet::new();
    for (name, members) in known {
        let kept = members.iter().filter(|it| addresses.contains(*it));
        let slice = slices.entry(name.clone()).or_default();
        for address in kept {
            if slice.len() < MOST_ENDPOINTS && placed.insert(*address) {
                slice.insert(*address);
            }
        }
    }
    let mut rest = addresses.iter().filter(|it| !placed.contains(*it)).copied().peekable();
    for slice in slices.values_mut() {
        slice.extend(rest.by_ref().take(MOST_ENDPOINTS - slice.len()));
    }
    let mut number = 0;
    while rest.peek().is_some() {
        let name = format!("{prefix}{number}");
        number += 1;
        let slice = slices.entry(name);
        slice.or_insert_with(|| rest.by_ref().take(MOST_ENDPOINTS).collect());
    }
    slices.retain(|_, members| !members.is_empty());
    slices
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(range: std::ops::Range<u8>) -> BTreeSet<IpAddr> {
        range.map(|last| IpAddr::from([10, 0, 0, last])).collect()
    }

    fn known(slices: &BTreeMap<String, BTreeSet<IpAddr>>) -> BTreeMap<String, Vec<IpAddr>> {
        slices.iter().map(|(name, it)| (name.clone(), it.iter().copied().collect())).collect()
    }

    #[test]
    fn no_slice_has_more_than_the_limit_and_each_address_is_in_one() {
        let slices = distribute("web-", &addresses(0..250), &BTreeMap::new());
        let sizes: Vec<_> = slices.iter().map(|(name, it)| (name.as_str(), it.len())).collect();
        assert_eq!(sizes, [("web-0", 100), ("web-1", 100), ("web-2", 50)]);
        let all: BTreeSet<_> = slices.into_values().flatten().collect();
        assert_eq!(all, addresses(0..250));
    }

    #[test]
    fn one_change_is_a_change_of_one_slice() {
        let before = distribute("web-", &addresses(1..250), &BTreeMap::new());
        let after = distribute("web-", &addresses(0..250), &known(&before));
        let changed = after.iter().filter(|(name, it)| before.get(*name) != Some(it)).count();
        assert_eq!(changed, 1);
        let fewer = distribute("web-", &addresses(0..249), &known(&after));
        let changed = fewer.iter().filter(|(name, it)| after.get(*name) != Some(it)).count();
        assert_eq!(changed, 1);
    }

    #[test]
    fn slices_that_are_empty_go_and_what_is_in_two_stays_in_one() {
        let slices = distribute("web-", &addresses(0..150), &BTreeMap::new());
        let mut known = known(&slices);
        known.insert("web-2".into(), known["web-0"].clone());
        let after = distribute("web-", &addresses(0..150), &known);
        assert_eq!(after, slices);
        let none = distribute("web-", &BTreeSet::new(), &known);
        assert!(none.is_empty());
    }
}
