//! When each check is due. One heap for all of them; time and randomness are passed in. Pure.
//!
//! A check is never begun while the one before is under way, and never made up for: beats that
//! were missed, because the machine slept or too many checks were under way, are counted and
//! dropped, and what missed one gets a new phase at random, so that no burst follows.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Within which time after it was added an endpoint is checked first, if its interval is longer:
/// nobody waits for an hour to learn that a new endpoint is dead.
const FIRST_WITHIN: Duration = Duration::from_secs(10);

/// How often a check is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rhythm {
    /// Between two beginnings; at least a millisecond.
    pub interval: Duration,
    /// How much of it is added or taken off at random, 0 to 50 percent.
    pub jitter_percent: u8,
}

/// Names a check; never given out again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckId {
    place: u32,
    generation: u32,
}

impl CheckId {
    /// Its place among all: small, and given out again when the check is gone.
    #[must_use]
    pub fn place(self) -> usize {
        usize::try_from(self.place).unwrap_or(usize::MAX)
    }
}

/// A check that is to be begun now. It counts as under way until [`Schedule::done`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Which.
    pub check: CheckId,
    /// For how long it has been due.
    pub late: Duration,
}

/// Beats at which no check was begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// The check before was still under way.
    pub busy: u64,
    /// Nobody was there to begin it: the machine slept, or too many others were under way.
    pub missed: u64,
}

/// All checks. Times are since any moment that stays the same.
#[derive(Debug)]
pub struct Schedule {
    heap: BinaryHeap<Reverse<Beat>>,
    checks: Vec<Option<Check>>,
    free: Vec<u32>,
    live: usize,
    generations: u32,
    most: usize,
    under_way: usize,
    skipped: Skipped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Beat {
    due: Duration,
    check: CheckId,
    /// Of a check that got another rhythm, only the newest counts.
    number: u32,
}

#[derive(Clone, Copy, Debug)]
struct Check {
    generation: u32,
    number: u32,
    rhythm: Rhythm,
    under_way: bool,
}

impl Schedule {
    /// No checks; at most `most` will be under way at a time.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        Self {
            heap: BinaryHeap::new(),
            checks: Vec::new(),
            free: Vec::new(),
            live: 0,
            generations: 0,
            most,
            under_way: 0,
            skipped: Skipped { busy: 0, missed: 0 },
        }
    }

    /// Adds a check. It is due first at a random moment within its interval (or 10 s).
    /// `random01` is uniform in 0..=1, here and below; anything outside is clamped.
    pub fn insert(&mut self, rhythm: Rhythm, now: Duration, random01: f64) -> CheckId {
        self.generations = self.generations.wrapping_add(1);
        let check = Check { generation: self.generations, number: 0, rhythm, under_way: false };
        let place = match self.free.pop() {
            Some(place) => place,
            None => u32::try_from(self.checks.len()).unwrap_or(u32::MAX),
        };
        let id = CheckId { place, generation: check.generation };
        match self.checks.get_mut(id.place()) {
            Some(free) => *free = Some(check),
            None => self.checks.push(Some(check)),
        }
        self.live += 1;
        let within = rhythm.interval.min(FIRST_WITHIN);
        self.push(id, 0, now.saturating_add(share(within, random01)));
        id
    }

    /// Forgets a check. One that is under way still has to be [`Self::done`].
    pub fn remove(&mut self, id: CheckId) {
        let found = self.get(id).is_some();
        if let Some(place) = self.checks.get_mut(id.place()).filter(|_| found) {
            *place = None;
            self.free.push(id.place);
            self.live -= 1;
            self.compact();
        }
    }

    /// Gives a check another rhythm, and a new phase with it.
    pub fn retime(&mut self, id: CheckId, rhythm: Rhythm, now: Duration, random01: f64) {
        let Some(check) = self.get(id) else { return };
        check.rhythm = rhythm;
        check.number = check.number.wrapping_add(1);
        let number = check.number;
        let within = rhythm.interval.min(FIRST_WITHIN);
        self.push(id, number, now.saturating_add(share(within, random01)));
        self.compact();
    }

    /// When [`Self::pop`] should be asked again; `None`: after the next change or
    /// [`Self::done`].
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        let Reverse(beat) = self.heap.peek()?;
        (self.under_way < self.most).then_some(beat.due)
    }

    /// A check to begin now, if one is due and may begin. Its next beat is one interval, more or
    /// less the jitter, after this one: late beginnings do not add up.
    pub fn pop(&mut self, now: Duration, mut random01: impl FnMut() -> f64) -> Option<Due> {
        while self.under_way < self.most {
            let Reverse(beat) = *self.heap.peek().filter(|Reverse(beat)| beat.due <= now)?;
            self.heap.pop();
            let Some(check) = self.get(beat.check).filter(|check| check.number == beat.number)
            else {
                continue;
            };
            let rhythm = check.rhythm;
            let busy = check.under_way;
            let late = now.saturating_sub(beat.due);
            if late >= rhythm.interval {
                self.skipped.missed += beats(late, rhythm.interval);
                let phase = share(rhythm.interval, random01());
                self.push(beat.check, beat.number, now.saturating_add(phase));
                continue;
            }
            check.under_way = true;
            let next = beat.due.saturating_add(rhythm.next(random01())).max(now);
            self.push(beat.check, beat.number, next);
            if busy {
                self.skipped.busy += 1;
                continue;
            }
            self.under_way += 1;
            return Some(Due { check: beat.check, late });
        }
        None
    }

    /// A check has its result, or was given up: exactly once for each [`Due`].
    pub fn done(&mut self, id: CheckId) {
        self.under_way = self.under_way.saturating_sub(1);
        if let Some(check) = self.get(id) {
            check.under_way = false;
        }
    }

    /// How many checks there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.live
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// What was left out since this was asked last.
    pub fn take_skipped(&mut self) -> Skipped {
        std::mem::take(&mut self.skipped)
    }

    fn get(&mut self, id: CheckId) -> Option<&mut Check> {
        let check = self.checks.get_mut(id.place())?.as_mut();
        check.filter(|check| check.generation == id.generation)
    }

    fn push(&mut self, check: CheckId, number: u32, due: Duration) {
        self.heap.push(Reverse(Beat { due, check, number }));
    }

    /// Beats of removed checks go when they are due; where most are such, all at once.
    fn compact(&mut self) {
        if self.heap.len() > 2 * self.live + 64 {
            let mut beats = std::mem::take(&mut self.heap).into_vec();
            beats.retain(|Reverse(beat)| {
                self.get(beat.check).is_some_and(|check| check.number == beat.number)
            });
            self.heap = beats.into();
        }
    }
}

impl Rhythm {
    fn next(self, random01: f64) -> Duration {
        let jitter = self.interval * u32::from(self.jitter_percent.min(50)) / 100;
        self.interval.saturating_sub(jitter) + share(jitter * 2, random01)
    }
}

/// A random part of a time.
fn share(whole: Duration, random01: f64) -> Duration {
    let share = if random01.is_nan() { 1.0 } else { random01.clamp(0.0, 1.0) };
    Duration::try_from_secs_f64(whole.as_secs_f64() * share).unwrap_or(whole)
}

/// How many beats fall into a time that is too long by at least one.
fn beats(late: Duration, interval: Duration) -> u64 {
    let beats = late.as_nanos() / interval.as_nanos().max(1);
    u64::try_from(beats).unwrap_or(u64::MAX)
}
