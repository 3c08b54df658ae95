//! A map that is an array in the kernel: flat, with a zeroed entry where the kernel has one.

use std::marker::PhantomData;

use mesh_common::backend::BackendIndex;
use mesh_common::service::ServiceIndex;

/// What a table is indexed by.
pub trait Index: Copy {
    /// From a place in the array.
    fn from_number(number: u32) -> Self;
    /// The place in the array.
    fn number(self) -> u32;
}

impl Index for u32 {
    fn from_number(number: u32) -> Self {
        number
    }

    fn number(self) -> u32 {
        self
    }
}

impl Index for ServiceIndex {
    fn from_number(number: u32) -> Self {
        Self { index: number }
    }

    fn number(self) -> u32 {
        self.index
    }
}

impl Index for BackendIndex {
    fn from_number(number: u32) -> Self {
        Self { index: number }
    }

    fn number(self) -> u32 {
        self.index
    }
}

/// Entries by index; one that equals its `Default`, all zero, is free.
#[derive(Clone, Debug)]
pub struct Table<I, V> {
    /// Place of the first of the entries; what lies before is free.
    first: usize,
    entries: Vec<V>,
    used: usize,
    index: PhantomData<I>,
}

impl<I, V> Default for Table<I, V> {
    fn default() -> Self {
        Self { first: 0, entries: Vec::new(), used: 0, index: PhantomData }
    }
}

/// Free entries behind the last used one do not count.
impl<I: Index, V: Copy + Default + PartialEq> PartialEq for Table<I, V> {
    fn eq(&self, other: &Self) -> bool {
        self.used == other.used
            && self
                .iter()
                .map(|(index, value)| (index.number(), value))
                .eq(other.iter().map(|(index, value)| (index.number(), value)))
    }
}

impl<I: Index, V: Copy + Default + PartialEq> Eq for Table<I, V> {}

impl<I: Index, V: Copy + Default + PartialEq> Table<I, V> {
    /// From the whole array.
    #[must_use]
    pub fn from_entries(mut entries: Vec<V>) -> Self {
        let free = V::default();
        let end = entries.iter().rposition(|entry| *entry != free).map_or(0, |last| last + 1);
        entries.truncate(end);
        entries.shrink_to_fit();
        let used = entries.iter().filter(|entry| **entry != free).count();
        Self { first: 0, entries, used, index: PhantomData }
    }

    /// The entry, if it is used.
    #[must_use]
    pub fn get(&self, index: &I) -> Option<&V> {
        self.entries.get(self.offset(*index)?).filter(|entry| **entry != V::default())
    }

    /// The entry; zero if it is free.
    #[must_use]
    pub fn at(&self, index: I) -> V {
        self.get(&index).copied().unwrap_or_default()
    }

    /// Whether the entry is used.
    #[must_use]
    pub fn contains_key(&self, index: &I) -> bool {
        self.get(index).is_some()
    }

    fn offset(&self, index: I) -> Option<usize> {
        place(index).checked_sub(self.first)
    }

    /// Writes an entry; a zeroed one becomes free.
    pub fn insert(&mut self, index: I, value: V) {
        let at = place(index);
        if self.entries.is_empty() {
            self.first = at;
        } else if at < self.first {
            self.entries.splice(..0, std::iter::repeat_n(V::default(), self.first - at));
            self.first = at;
        }
        let at = at - self.first;
        if at >= self.entries.len() {
            self.entries.resize(at + 1, V::default());
        }
        if let Some(entry) = self.entries.get_mut(at) {
            let free = V::default();
            self.used -= usize::from(*entry != free);
            self.used += usize::from(value != free);
            *entry = value;
        }
    }

    /// Writes all entries of another table.
    pub fn merge(&mut self, other: &Self) {
        for (index, value) in other.iter() {
            self.insert(index, *value);
        }
    }

    /// Frees an entry.
    pub fn remove(&mut self, index: &I) {
        if self.contains_key(index) {
            self.insert(*index, V::default());
        }
    }

    /// Keeps the entries that the function says.
    pub fn retain(&mut self, mut keep: impl FnMut(&I, &mut V) -> bool) {
        let free = V::default();
        let first = u32::try_from(self.first).unwrap_or(u32::MAX);
        for (at, entry) in (first..).zip(&mut self.entries) {
            if *entry != free && !keep(&I::from_number(at), entry) {
                *entry = free;
                self.used -= 1;
            }
        }
    }

    /// Takes away the entries from an index on, and gives back the memory behind the last one left.
    #[must_use]
    pub fn split_off(&mut self, end: I) -> Self {
        let copied = |(index, value): (I, &V)| (index, *value);
        let is_beyond = |(index, _): &(I, V)| index.number() >= end.number();
        let beyond = self.iter().map(copied).filter(is_beyond).collect();
        *self = self.iter().map(copied).filter(|entry| !is_beyond(entry)).collect();
        self.entries.shrink_to_fit();
        beyond
    }

    /// Entries in use.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.used
    }

    /// Whether no entry is in use.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// The entries in use, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (I, &V)> {
        let free = V::default();
        let first = u32::try_from(self.first).unwrap_or(u32::MAX);
        let indexed = (first..).map(I::from_number).zip(&self.entries);
        indexed.filter(move |(_, entry)| **entry != free)
    }

    /// The indices in use, ascending.
    pub fn keys(&self) -> impl Iterator<Item = I> {
        self.iter().map(|(index, _)| index)
    }

    /// One more than the highest index that may be in use.
    #[must_use]
    pub fn end(&self) -> u32 {
        u32::try_from(self.first + self.entries.len()).unwrap_or(u32::MAX)
    }

    /// Entries from a used one on, free ones as zeroes; short where the last ones are free.
    #[must_use]
    pub fn range(&self, first: I, count: u32) -> &[V] {
        let Some(first) = self.offset(first) else { return &[] };
        let end = first.saturating_add(place(count)).min(self.entries.len());
        self.entries.get(first..end).unwrap_or_default()
    }
}

fn place(index: impl Index) -> usize {
    usize::try_from(index.number()).unwrap_or(usize::MAX)
}

impl<I: Index, V: Copy + Default + PartialEq> FromIterator<(I, V)> for Table<I, V> {
    fn from_iter<T: IntoIterator<Item = (I, V)>>(entries: T) -> Self {
        let mut table = Self::default();
        for (index, value) in entries {
            table.insert(index, value);
        }
        table
    }
}
