//! The order in which the ports of a range are tried.

/// A longer range is tried in random order (ADR 0003), so that concurrent requests seldom try the same
/// port. In a short range users expect the first free port.
const IN_ORDER: usize = 100;

/// A permutation of the numbers below a bound.
#[derive(Debug, Clone)]
pub(crate) struct Permutation {
    count: usize,
    next: usize,
    stride: usize,
    left: usize,
}

// === impl Permutation ===

impl Permutation {
    /// The numbers below `count`: in order if they are few, or else in an order that follows from the
    /// seed.
    pub(crate) fn new(count: usize, seed: u64) -> Self {
        match count {
            0..=IN_ORDER => Self { count, next: 0, stride: 1, left: count },
            _ => Self::scattered(count, seed),
        }
    }

    /// A stride that is coprime to the count visits every number once (full cycle).
    fn scattered(count: usize, seed: u64) -> Self {
        let (high, low) = ((seed >> 32) as usize, (seed & u64::from(u32::MAX)) as usize);
        let mut stride = 1 + high % (count - 1);
        while greatest_common_divisor(stride, count) != 1 {
            stride = 1 + stride % (count - 1);
        }
        Self { count, next: low % count, stride, left: count }
    }
}

impl Iterator for Permutation {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let current = self.next;
        self.next = (current + self.stride) % self.count;
        Some(current)
    }
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    match b {
        0 => a,
        b => greatest_common_divisor(b, a % b),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_range_is_tried_in_order() {
        assert!(Permutation::new(100, 7).eq(0..100));
        assert_eq!(Permutation::new(0, 7).next(), None);
    }

    #[test]
    fn order_of_long_range_depends_on_seed() {
        let order = |seed| Permutation::new(1000, seed).collect::<Vec<_>>();
        assert_eq!(order(3 << 32 | 5), order(3 << 32 | 5));
        assert_ne!(order(3 << 32 | 5), order(7 << 32 | 9));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn every_port_is_tried_exactly_once(count in 1_usize..5000, seed: u64) {
            let mut met = Permutation::new(count, seed).collect::<Vec<_>>();
            met.sort_unstable();
            prop_assert!(met.into_iter().eq(0..count));
        }
    }
}
