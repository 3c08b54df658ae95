//! What is free: indices, and ranges of slots. Taking and giving back costs the logarithm of what
//! is free, whatever is used.

use std::collections::{BTreeMap, BTreeSet};

/// A map is full.
#[derive(Debug, thiserror::Error)]
#[error("{what} are used up ({limit}): start the agent with a higher {flag}")]
pub(super) struct LimitError {
    pub(super) what: &'static str,
    pub(super) limit: u32,
    pub(super) flag: &'static str,
}

/// Free indices; the lowest is taken first.
#[derive(Debug)]
pub(super) struct Pool {
    what: &'static str,
    flag: &'static str,
    limit: u32,
    /// Free ones below `next`.
    free: BTreeSet<u32>,
    /// From here on all are free.
    next: u32,
}

impl Pool {
    /// From the indices that are used, ascending.
    pub(super) fn new(
        what: &'static str,
        flag: &'static str,
        limit: u32,
        used: impl Iterator<Item = u32>,
    ) -> Self {
        // Index 0 means none.
        let mut pool = Self { what, flag, limit, free: BTreeSet::new(), next: 1 };
        for index in used {
            pool.free.extend(pool.next..index);
            pool.next = pool.next.max(index.saturating_add(1));
        }
        pool
    }

    pub(super) fn take(&mut self) -> Result<u32, LimitError> {
        if let Some(index) = self.free.pop_first() {
            return Ok(index);
        }
        if self.next >= self.limit {
            let Self { what, flag, limit, .. } = *self;
            return Err(LimitError { what, limit, flag });
        }
        self.next += 1;
        Ok(self.next - 1)
    }

    pub(super) fn give_back(&mut self, index: u32) {
        self.free.insert(index);
    }
}

/// Free ranges of slots; of those that fit best, the lowest is taken. Neighbours are joined.
#[derive(Debug)]
pub(super) struct Ranges {
    limit: u32,
    /// Start → length.
    by_start: BTreeMap<u32, u32>,
    /// (length, start)
    by_length: BTreeSet<(u32, u32)>,
}

impl Ranges {
    /// Nothing is used.
    pub(super) fn new(limit: u32) -> Self {
        let mut ranges = Self { limit, by_start: BTreeMap::new(), by_length: BTreeSet::new() };
        ranges.insert(0, limit);
        ranges
    }

    /// A range of `count` slots; 0 where that is 0.
    pub(super) fn take(&mut self, count: u32) -> Result<u32, LimitError> {
        if count == 0 {
            return Ok(0);
        }
        let Some((length, start)) = self.by_length.range((count, 0)..).next().copied() else {
            let limit = self.limit;
            return Err(LimitError { what: "slots", limit, flag: "--max-slots" });
        };
        self.remove(start, length);
        self.insert(start.saturating_add(count), length - count);
        Ok(start)
    }

    /// Takes a range that is known to be used, or as much of it as is free.
    pub(super) fn occupy(&mut self, start: u32, count: u32) {
        let end = start.saturating_add(count);
        loop {
            let before = self.by_start.range(..end).next_back().map(|(at, length)| (*at, *length));
            let Some((at, length)) =
                before.filter(|(at, length)| at.saturating_add(*length) > start)
            else {
                return;
            };
            self.remove(at, length);
            self.insert(at, start.saturating_sub(at));
            self.insert(end, at.saturating_add(length).saturating_sub(end));
        }
    }

    /// Whether a slot is free.
    pub(super) fn contains(&self, at: u32) -> bool {
        let before = self.by_start.range(..=at).next_back();
        before.is_some_and(|(start, length)| at - start < *length)
    }

    pub(super) fn give_back(&mut self, mut start: u32, count: u32) {
        let mut end = start.saturating_add(count);
        if let Some((at, length)) = self.by_start.range(..start).next_back()
            && at.saturating_add(*length) == start
        {
            let (at, length) = (*at, *length);
            self.remove(at, length);
            start = at;
        }
        if let Some(length) = self.by_start.get(&end).copied() {
            self.remove(end, length);
            end = end.saturating_add(length);
        }
        self.insert(start, end - start);
    }

    fn insert(&mut self, start: u32, length: u32) {
        if length > 0 {
            self.by_start.insert(start, length);
            self.by_length.insert((length, start));
        }
    }

    fn remove(&mut self, start: u32, length: u32) {
        self.by_start.remove(&start);
        self.by_length.remove(&(length, start));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_never_overlap_and_join_again(
            steps in prop::collection::vec((any::<bool>(), 1..20u32, any::<prop::sample::Index>()), 0..60),
        ) {
            let mut ranges = Ranges::new(200);
            let mut taken: Vec<(u32, u32)> = Vec::new();
            for (take, count, which) in steps {
                if take {
                    if let Ok(start) = ranges.take(count) {
                        for (other, length) in &taken {
                            prop_assert!(start + count <= *other || other + length <= start);
                        }
                        prop_assert!(start + count <= 200);
                        taken.push((start, count));
                    }
                } else if !taken.is_empty() {
                    let (start, count) = taken.swap_remove(which.index(taken.len()));
                    ranges.give_back(start, count);
                }
            }
            let mut again = Ranges::new(200);
            for (start, count) in &taken {
                again.occupy(*start, *count);
            }
            prop_assert_eq!(&again.by_start, &ranges.by_start);
            prop_assert_eq!(&again.by_length, &ranges.by_length);
            for (start, count) in taken {
                ranges.give_back(start, count);
            }
            prop_assert_eq!(ranges.by_start.into_iter().collect::<Vec<_>>(), [(0, 200)]);
        }

        #[test]
        fn a_pool_gives_out_what_is_free_from_the_lowest(
            used in prop::collection::btree_set(1..30u32, 0..30),
        ) {
            let mut pool = Pool::new("things", "--max-things", 30, used.iter().copied());
            let mut given = Vec::new();
            while let Ok(index) = pool.take() {
                given.push(index);
            }
            let free: Vec<u32> = (1..30).filter(|index| !used.contains(index)).collect();
            prop_assert_eq!(given, free);
        }
    }
}
