//! Reads a range in pages, each of which is as large as is good for etcd.
//!
//! etcd 3.4 walks over the whole rest of a range for each page, so many small pages take quadratic time; and a response
//! must not be too large, but one registration may have 300 kB.

use portolan_etcd::{EtcdClient, EtcdError, KeyRange, KeyValue};

use super::replica::Position;

/// The size of the first page, before anything is known of the keys.
const FIRST: i64 = 512;
const SMALLEST: i64 = 16;
/// Not more, because the values may be as large as they can be, and etcd holds the whole page in memory.
const LARGEST: i64 = 4096;
/// The bytes that a page should have: a quarter of what the client accepts.
const BYTES: usize = 4 << 20;

/// Reads a range at one revision.
pub(super) async fn read_all(
    client: &EtcdClient,
    range: KeyRange,
) -> Result<(Vec<KeyValue>, Position), EtcdError> {
    let mut rest = range;
    let (mut keys, mut at, mut size) = (Vec::new(), None, PageSize::first());
    loop {
        let revision = at.map_or(0, |at: Position| at.revision);
        let page = client.range(&rest, size.keys(), revision).await;
        if matches!(page, Err(EtcdError::TooLarge))
            && let Some(smaller) = size.smaller()
        {
            size = smaller;
            continue;
        }
        let page = page?;
        size = size.after(&page.keys);
        let (cluster, revision) = (page.cluster, page.revision);
        let at = *at.get_or_insert(Position { cluster, revision });
        let is_last = !page.more || page.keys.is_empty();
        if let Some(last) = page.keys.last() {
            rest = rest.after(&last.key);
        }
        keys.extend(page.keys);
        if is_last {
            return Ok((keys, at));
        }
    }
}

/// The size of the next page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PageSize(i64);

// === impl PageSize ===

impl PageSize {
    fn first() -> Self {
        Self(FIRST)
    }

    fn keys(self) -> i64 {
        self.0
    }

    /// The size after a page that was read: as many keys like these as make a page.
    #[must_use]
    fn after(self, page: &[KeyValue]) -> Self {
        let bytes: usize = page.iter().map(|kv| kv.key.len() + kv.value.len()).sum();
        let average = (bytes / page.len().max(1)).max(1);
        let fitting = i64::try_from(BYTES / average).unwrap_or(LARGEST);
        // Not much larger at once, because the next keys may have larger values.
        Self(fitting.min(4 * self.0).clamp(SMALLEST, LARGEST))
    }

    /// The size after a page that was too large; `None` if there is no smaller one.
    fn smaller(self) -> Option<Self> {
        (self.0 > SMALLEST).then(|| Self((self.0 / 8).max(SMALLEST)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(keys: usize, bytes: usize) -> Vec<KeyValue> {
        vec![KeyValue { value: vec![0; bytes], ..KeyValue::default() }; keys]
    }

    #[test]
    fn pages_of_small_keys_grow_and_those_of_large_ones_shrink() {
        let first = PageSize::first();
        let second = first.after(&page(512, 500));
        assert_eq!(second, PageSize(2048));
        assert_eq!(second.after(&page(2048, 500)), PageSize(LARGEST));
        assert_eq!(second.after(&page(2048, 1 << 12)), PageSize(1 << 10));
        assert_eq!(second.after(&page(20, 300_000)), PageSize(SMALLEST));
        assert_eq!(PageSize(LARGEST).after(&page(3, 0)), PageSize(LARGEST));
        assert_eq!(first.after(&[]), PageSize(2048));
    }

    #[test]
    fn page_that_was_too_large_is_tried_smaller_until_the_smallest() {
        let mut size = PageSize(LARGEST);
        let mut steps = 0;
        while let Some(smaller) = size.smaller() {
            assert!(smaller.keys() < size.keys());
            (size, steps) = (smaller, steps + 1);
        }
        assert_eq!((size, steps), (PageSize(SMALLEST), 3));
    }
}
