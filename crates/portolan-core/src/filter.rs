//! Lists of values as filters.

/// Returns whether the list contains the value or is empty: an empty filter matches every value.
pub fn matches_any<T: PartialEq>(filter: &[T], value: &T) -> bool {
    filter.is_empty() || filter.contains(value)
}
