//! An array map in the agent's memory (`BPF_F_MMAPABLE`): the programs see a store at once, as
//! they see each other's.
//!
//! Words are read and written one by one, never a value as a whole, and each store is a release:
//! whoever sees it sees everything that was stored before. The order within a value is the
//! caller's choice. Minimum kernel: 5.5.

#![expect(unsafe_code, reason = "memory that is shared with the kernel")]

use std::ffi::c_void;
use std::io;
use std::marker::PhantomData;
use std::mem::size_of;
use std::num::NonZeroUsize;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::Pod;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::pinned::{Pinned, bytes, value};

const WORD: usize = size_of::<u64>();
/// The longest value, in words: a policy.
const MOST_WORDS: usize = 16;

/// In which order the words of a value are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The first word first.
    Up,
    /// The last word first.
    Down,
}

/// What may be done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Only read.
    Read,
    /// Read and write.
    Write,
}

/// An array map in memory. Clones share it: all of a map is resident from the moment it is mapped,
/// and counts as the agent's once for each mapping.
#[derive(Debug)]
pub(crate) struct Mapped<T> {
    memory: Arc<Memory>,
    entries: u32,
    access: Access,
    values: PhantomData<fn() -> T>,
}

impl<T> Clone for Mapped<T> {
    fn clone(&self) -> Self {
        let memory = Arc::clone(&self.memory);
        Self { memory, entries: self.entries, access: self.access, values: PhantomData }
    }
}

/// A mapping.
#[derive(Debug)]
struct Memory {
    base: NonNull<AtomicU64>,
    bytes: usize,
}

// SAFETY: the memory is only reached through atomics.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl<T: Pod> Mapped<T> {
    /// Words of an entry: the kernel rounds the size of a value up to 8 bytes.
    const STRIDE: usize = size_of::<T>().div_ceil(WORD);

    /// Maps a pinned array.
    pub(crate) fn open(path: &Path, access: Access) -> io::Result<Self> {
        const { assert!(Self::STRIDE <= MOST_WORDS && Self::STRIDE > 0) };
        let pinned: Pinned<u32, T> = Pinned::open(path)?;
        let entries = pinned.info().max_entries;
        let bytes = usize::try_from(entries)
            .ok()
            .and_then(|entries| entries.checked_mul(Self::STRIDE * WORD))
            .and_then(NonZeroUsize::new)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        let protection = match access {
            Access::Read => ProtFlags::PROT_READ,
            Access::Write => ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
        };
        // SAFETY: a new mapping, at an address of the kernel's choice. The kernel refuses a map
        // that is shorter or that cannot be mapped.
        let base = unsafe { mmap(None, bytes, protection, MapFlags::MAP_SHARED, pinned.fd(), 0) }?;
        let memory = Arc::new(Memory { base: base.cast(), bytes: bytes.get() });
        Ok(Self { memory, entries, access, values: PhantomData })
    }

    /// How many entries it has.
    pub(crate) const fn entries(&self) -> u32 {
        self.entries
    }

    /// The words of an entry.
    fn words(&self, index: u32) -> Option<&[AtomicU64]> {
        if index >= self.entries {
            return None;
        }
        let at = usize::try_from(index).ok()?.checked_mul(Self::STRIDE)?;
        // SAFETY: within the mapping, because the index is; aligned, because pages are; valid as
        // long as `self`. Others change the memory, which is what atomics are for.
        Some(unsafe { std::slice::from_raw_parts(self.memory.base.add(at).as_ptr(), Self::STRIDE) })
    }

    /// Reads an entry; `None` beyond the end. Words may come from different moments.
    pub(crate) fn get(&self, index: u32) -> Option<T> {
        let mut copy = [0; MOST_WORDS];
        for (copy, word) in copy.iter_mut().zip(self.words(index)?) {
            *copy = word.load(Ordering::Acquire);
        }
        value(bytes(&copy))
    }

    /// All entries, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = T> + '_ {
        (0..self.entries).map_while(|index| self.get(index))
    }

    /// Writes an entry word by word; false beyond the end, or where it may only be read.
    #[must_use]
    pub(crate) fn set(&self, index: u32, entry: &T, order: Order) -> bool {
        let mut copy = [0; MOST_WORDS];
        for (word, bytes) in copy.iter_mut().zip(bytes(entry).chunks(WORD)) {
            let mut full = [0; WORD];
            for (full, byte) in full.iter_mut().zip(bytes) {
                *full = *byte;
            }
            *word = u64::from_ne_bytes(full);
        }
        let Some(words) = self.words(index).filter(|_| self.access == Access::Write) else {
            return false;
        };
        let stores = words.iter().zip(copy);
        match order {
            Order::Up => stores.for_each(|(word, value)| word.store(value, Ordering::Release)),
            Order::Down => {
                stores.rev().for_each(|(word, value)| word.store(value, Ordering::Release));
            }
        }
        true
    }

    /// A word of an entry, which becomes 0; 0 beyond the end.
    pub(crate) fn take(&self, index: u32, word: usize) -> u64 {
        self.cell(index, word).map_or(0, |word| word.swap(0, Ordering::AcqRel))
    }

    /// Adds to a word of an entry, around its end; nothing happens beyond the last entry.
    pub(crate) fn add(&self, index: u32, word: usize, number: u64) {
        if let Some(word) = self.cell(index, word) {
            word.fetch_add(number, Ordering::AcqRel);
        }
    }

    /// Takes one off a word of an entry, unless it is 0.
    pub(crate) fn decrement(&self, index: u32, word: usize) {
        if let Some(word) = self.cell(index, word) {
            let one_less = |number: u64| number.checked_sub(1);
            // 0 stays.
            word.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less).unwrap_or_default();
        }
    }

    /// A word of an entry; 0 beyond the end.
    pub(crate) fn read(&self, index: u32, word: usize) -> u64 {
        let words = self.words(index);
        words.and_then(|it| it.get(word)).map_or(0, |it| it.load(Ordering::Acquire))
    }

    /// Replaces a word of an entry if it still is `from`, as the programs do; false otherwise,
    /// beyond the end, and where it may only be read.
    #[must_use]
    pub(crate) fn compare_exchange(&self, index: u32, word: usize, from: u64, to: u64) -> bool {
        let Some(cell) = self.cell(index, word) else { return false };
        cell.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn cell(&self, index: u32, word: usize) -> Option<&AtomicU64> {
        self.words(index).filter(|_| self.access == Access::Write)?.get(word)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping of `open`, which nothing refers to any more.
        let unmapped = unsafe { munmap(self.base.cast::<c_void>(), self.bytes) };
        // There is no error for a mapping of ours, and nothing to be done about one.
        unmapped.unwrap_or_default();
    }
}
