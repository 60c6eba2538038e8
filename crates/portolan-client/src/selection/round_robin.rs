//! Each instance in turn.

use std::sync::atomic::Ordering;

use crate::instances::Instance;

use super::Cursor;

pub(super) fn select(instances: &[&Instance], cursor: &Cursor) -> Option<usize> {
    cursor.fetch_add(1, Ordering::Relaxed).checked_rem(instances.len())
}
