//! At random, each with the same probability.

use rand::RngExt;

use crate::instances::Instance;

pub(super) fn select(instances: &[&Instance]) -> Option<usize> {
    (!instances.is_empty()).then(|| rand::rng().random_range(0..instances.len()))
}
