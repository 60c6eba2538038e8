//! The fewest pending requests.

use crate::instances::Instance;

use super::lowest;

pub(super) fn select(instances: &[&Instance]) -> Option<usize> {
    lowest(instances, |instance| instance.load.pending())
}
