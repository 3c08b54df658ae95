//! Sockets that no process was found to hold: to look for one, the descriptors of all processes are
//! read, so it is looked for less and less often. Pure; time is counted in looks.

use std::collections::BTreeMap;

/// Longest time between two searches for a socket, in looks.
const LONGEST: u64 = 32;
/// Most sockets that are remembered. Whichever else is not found is looked for at each look.
const MOST: usize = 16_384;

/// A socket that was looked for in vain.
#[derive(Clone, Copy, Debug)]
struct Missed {
    /// It is due at a multiple of so many looks: a power of two.
    pause: u64,
    /// The look at which it is looked for again.
    due: u64,
}

/// The sockets that were not found, by the number of their file.
#[derive(Debug, Default)]
pub(super) struct Absent {
    look: u64,
    missed: BTreeMap<u32, Missed>,
}

impl Absent {
    /// Another look begins. What nobody has asked for in a long time is forgotten.
    pub(super) fn next(&mut self) {
        self.look = self.look.saturating_add(1);
        let look = self.look;
        self.missed.retain(|_, missed| look <= missed.due.saturating_add(LONGEST));
    }

    /// Whether it is worth a search at this look.
    pub(super) fn is_due(&self, inode: u32) -> bool {
        self.missed.get(&inode).is_none_or(|missed| missed.due <= self.look)
    }

    /// It was searched for at this look, and not found. After the first time it is looked for at the
    /// next look: it may have been on its way from one process to another.
    pub(super) fn missed(&mut self, inode: u32) {
        let pause = match self.missed.get(&inode) {
            // Searched for because of another one.
            Some(missed) if missed.due > self.look => return,
            Some(missed) => missed.pause.saturating_mul(2).min(LONGEST),
            None if self.missed.len() >= MOST => return,
            None => 1,
        };
        // Those of one pause are due together: one search is for all.
        let due = (self.look / pause).saturating_add(1).saturating_mul(pause);
        self.missed.insert(inode, Missed { pause, due });
    }

    /// It was found.
    pub(super) fn found(&mut self, inode: u32) {
        self.missed.remove(&inode);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The looks, of so many, at which an inode is searched for that is never found.
    fn searches(absent: &mut Absent, inode: u32, looks: u64) -> Vec<u64> {
        let mut searches = Vec::new();
        for look in 1..=looks {
            absent.next();
            if absent.is_due(inode) {
                searches.push(look);
                absent.missed(inode);
            }
        }
        searches
    }

    #[test]
    fn what_is_not_found_is_looked_for_less_and_less_often() {
        let mut absent = Absent::default();
        assert_eq!(searches(&mut absent, 7, 130), [1, 2, 4, 8, 16, 32, 64, 96, 128]);
        // What is found begins anew.
        absent.found(7);
        assert_eq!(searches(&mut absent, 7, 5), [1, 2, 4]);
    }

    #[test]
    fn a_search_for_another_one_does_not_put_it_off() {
        let mut absent = Absent::default();
        assert_eq!(searches(&mut absent, 7, 5), [1, 2, 4]);
        absent.missed(7);
        assert_eq!(searches(&mut absent, 7, 3), [3]);
    }

    #[test]
    fn those_that_were_missed_at_different_looks_are_searched_for_together() {
        let mut absent = Absent::default();
        let mut searches = 0;
        for look in 1..=640u32 {
            absent.next();
            let due = (1..=look.min(200)).filter(|inode| absent.is_due(*inode)).count();
            searches += usize::from(look > 320 && due > 0);
            (1..=look.min(200)).for_each(|inode| absent.missed(inode));
        }
        assert_eq!(searches, 10);
    }

    #[test]
    fn memory_is_bounded_and_what_nobody_asks_for_is_forgotten() {
        let mut absent = Absent::default();
        absent.next();
        let all = 0..2 * u32::try_from(MOST).unwrap();
        all.clone().for_each(|inode| absent.missed(inode));
        assert_eq!(absent.missed.len(), MOST);
        // The others are looked for, as if there were no memory.
        assert_eq!(all.filter(|inode| absent.is_due(*inode)).count(), MOST);
        for _ in 0..LONGEST + 2 {
            absent.next();
        }
        assert!(absent.missed.is_empty());
    }

    proptest! {
        /// Whatever happened before: what is asked for at each look is searched for within `LONGEST`.
        #[test]
        fn nothing_is_given_up(before in prop::collection::vec((0..4u32, 0..3u8), 0..200)) {
            let mut absent = Absent::default();
            for (inode, step) in before {
                match step {
                    0 => absent.next(),
                    1 => absent.missed(inode),
                    _ => absent.found(inode),
                }
            }
            for inode in 0..4 {
                let mut looks = 0;
                while !absent.is_due(inode) {
                    absent.next();
                    looks += 1;
                }
                prop_assert!(looks <= LONGEST);
            }
        }
    }
}
