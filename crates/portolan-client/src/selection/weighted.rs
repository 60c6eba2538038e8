//! At random in proportion to the weights.

use rand::RngExt;

use crate::instances::Instance;
use crate::select::by_weight;

pub(super) fn select(instances: &[&Instance]) -> Option<usize> {
    let weights = instances.iter().map(|instance| instance.weight);
    let random_below = |bound| rand::rng().random_range(0..bound);
    (!instances.is_empty()).then(|| by_weight(weights, random_below))
}
