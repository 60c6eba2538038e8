//! A memory-mapped file as a slice of atomic words, shared by several processes.
//!
//! This crate has the only unsafe code of Portolan. What the words mean is defined by the crates that use
//! it.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::sync::atomic::AtomicU64;

use memmap2::{MmapOptions, MmapRaw};

/// The beginning of a file, mapped shared (mmap(2)).
///
/// It dereferences to a slice of atomic words. Every word is valid, whatever the file contains, and none
/// can be trusted. The file must not be truncated while it is mapped, and each page needs disk space
/// before it is first written: the kernel ends a process with SIGBUS otherwise.
#[derive(Debug)]
pub struct SharedTable {
    map: MmapRaw,
    words: usize,
}

// === impl SharedTable ===

impl SharedTable {
    /// Maps the first `words` words of a file that is open for reading and writing.
    ///
    /// If the file is too short or `words` is 0, the error has the kind `InvalidInput`.
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
        // long as `self`, which the slice borrows. A mapping begins at a page, so it is aligned. This
        // process accesses the memory through such slices only.
        unsafe { words_at(self.map.as_mut_ptr(), self.words) }
    }
}

/// Returns the memory from `first` on as words. Separate from the mapping, so that Miri can run it.
///
/// # Safety
/// `words * 8` bytes from `first` on are readable and writable for as long as the slice lives,
/// `first` is aligned for a `u64`, and this process accesses them through such slices only.
#[allow(unsafe_code)]
unsafe fn words_at<'a>(first: *mut u8, words: usize) -> &'a [AtomicU64] {
    // SAFETY: the caller guarantees the memory. An `AtomicU64` is as large as a `u64` and has no
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
    fn threads_share_memory_as_atomic_words() {
        let mut memory = [7_u64, 0];
        let first = memory.as_mut_ptr().cast();
        // SAFETY: an array of two words, which is not accessed otherwise while the slice is used.
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

/// Miri does not support mmap.
#[cfg(all(test, not(miri)))]
mod file_tests {
    use std::os::unix::fs::FileExt;
    use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

    use super::*;

    #[test]
    fn mappings_of_one_file_share_their_words() {
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
    fn mapping_shows_what_is_written_to_the_file() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(16).unwrap();
        let table = SharedTable::map(&file, 2).unwrap();
        file.write_all_at(&5_u64.to_ne_bytes(), 8).unwrap();
        assert_eq!(table[1].load(Acquire), 5);
    }

    #[test]
    fn file_that_is_too_short_is_refused() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(15).unwrap();
        for words in [0, 2, usize::MAX] {
            let error = SharedTable::map(&file, words).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{words} words");
        }
    }
}
