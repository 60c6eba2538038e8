//! A file as a row of numbers that several processes read and write at once.
//!
//! This is the one place of Portolan with unsafe code, and it knows nothing of ports: what the
//! numbers mean, and in which order they change, is the port allocator's business.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::sync::atomic::AtomicU64;

use memmap2::{MmapOptions, MmapRaw};

/// The beginning of a file, mapped into the memory of every process that opens it.
///
/// It reads as a slice of atomic numbers. Every number is valid, whatever the file held before;
/// none of them is to be trusted. The file must not become shorter while it is mapped: the
/// system ends a process with SIGBUS when it touches a number that has no file behind it any more.
/// So must a filesystem have room for each page before it is first written to.
#[derive(Debug)]
pub struct SharedTable {
    map: MmapRaw,
    words: usize,
}

// === impl SharedTable ===

impl SharedTable {
    /// Maps the first `words` numbers of a file that is open for reading and writing.
    ///
    /// A file that is too short, or no words at all, is an error of the kind `InvalidInput`.
    pub fn map(file: &File, words: usize) -> io::Result<Self> {
        let bytes = words.checked_mul(size_of::<AtomicU64>()).filter(|bytes| *bytes > 0);
        let bytes = bytes.ok_or(io::ErrorKind::InvalidInput)?;
        if file.metadata()?.len() < bytes as u64 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let map = MmapOptions::new().len(bytes).map_raw(file)?;
        Ok(Self { map, words })
    }
}

impl Deref for SharedTable {
    type Target = [AtomicU64];

    #[allow(unsafe_code)]
    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: `map` has mapped `words * 8` bytes, readable and writable, and they stay mapped as
        // long as `self`, which the slice borrows. A mapping begins at a page, so it is aligned.
        // This process reaches the memory through such slices only.
        unsafe { words_at(self.map.as_mut_ptr(), self.words) }
    }
}

/// The memory from `first` on as numbers. Apart from the mapping, so that Miri can run it.
///
/// # Safety
/// `words * 8` bytes from `first` on are readable and writable for as long as the slice lives,
/// `first` is aligned for a `u64`, and this process reaches them through such slices only.
#[allow(unsafe_code)]
unsafe fn words_at<'a>(first: *mut u8, words: usize) -> &'a [AtomicU64] {
    // SAFETY: the caller promises the memory. An `AtomicU64` is as large as a `u64` and has no
    // invalid value; other processes write whole words atomically too, and whatever else they might
    // write is some value of each word.
    unsafe { std::slice::from_raw_parts(first.cast::<AtomicU64>(), words) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    #[allow(unsafe_code)]
    fn memory_is_read_and_written_as_numbers_by_several_at_once() {
        let mut memory = [7_u64, 0];
        let first = memory.as_mut_ptr().cast();
        // SAFETY: an array of two numbers, which is not touched otherwise while the slice is used.
        let words = unsafe { words_at(first, 2) };
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..10).for_each(|_| _ = words[1].fetch_add(1, Relaxed)));
            }
        });
        assert_eq!((words[0].load(Relaxed), words[1].load(Relaxed)), (7, 20));
        assert_eq!(memory, [7, 20]);
    }
}

/// Miri maps no files.
#[cfg(all(test, not(miri)))]
mod file_tests {
    use std::os::unix::fs::FileExt;
    use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

    use super::*;

    #[test]
    fn two_mappings_of_one_file_are_the_same_numbers() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        let (one, other) =
            (SharedTable::map(&file, 512).unwrap(), SharedTable::map(&file, 512).unwrap());
        assert_eq!(one.len(), 512);
        one[7].store(42, Release);
        assert_eq!(other[7].load(Acquire), 42);
        assert_eq!(other[7].compare_exchange(42, 43, AcqRel, Acquire), Ok(42));
        assert_eq!(one[7].load(Acquire), 43);
    }

    #[test]
    fn what_is_written_to_the_file_is_seen_in_the_mapping() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(16).unwrap();
        let table = SharedTable::map(&file, 2).unwrap();
        file.write_all_at(&5_u64.to_ne_bytes(), 8).unwrap();
        assert_eq!(table[1].load(Acquire), 5);
    }

    #[test]
    fn a_file_that_is_too_short_is_refused() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(15).unwrap();
        for words in [0, 2, usize::MAX] {
            let error = SharedTable::map(&file, words).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{words} words");
        }
    }
}
