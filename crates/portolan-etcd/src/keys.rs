//! Ranges of keys.

/// The keys from the first one up to, but not including, the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    pub(crate) first: Vec<u8>,
    pub(crate) end: Vec<u8>,
}

// === impl KeyRange ===

impl KeyRange {
    /// The keys from `first` on that are smaller than `end`.
    pub fn between(first: &str, end: &str) -> Self {
        Self { first: first.into(), end: end.into() }
    }

    /// The keys that begin with the prefix.
    pub fn with_prefix(prefix: &str) -> Self {
        Self { first: prefix.into(), end: end_of_prefix(prefix.as_bytes()) }
    }

    /// One key.
    pub fn key(key: &str) -> Self {
        Self { first: key.into(), end: Vec::new() }
    }

    /// The rest of the range after this key.
    #[must_use]
    pub fn after(&self, key: &[u8]) -> Self {
        Self { first: [key, &[0]].concat(), end: self.end.clone() }
    }
}

/// The smallest key that is greater than all keys with the prefix.
pub(crate) fn end_of_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.last_mut() {
        if *last < u8::MAX {
            *last += 1;
            return end;
        }
        end.pop();
    }
    // All keys from the first one on.
    vec![0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_of_a_prefix_is_above_all_its_keys_and_nothing_else() {
        let end = end_of_prefix(b"/a/");
        assert!(b"/a/\xff\xff".as_slice() < end.as_slice());
        assert_eq!(end, b"/a0");
        assert_eq!(end_of_prefix(b"a\xff"), b"b");
        assert_eq!(end_of_prefix(b""), [0]);
    }
}
