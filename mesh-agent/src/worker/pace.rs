//! When the worker frees what is no longer used, and tries again what could not be written. Pure.

use std::time::{Duration, Instant};

/// How long nothing must happen before the worker frees what is no longer used; a grace period
/// takes some milliseconds, which must not delay the next update.
const IDLE: Duration = Duration::from_millis(100);
/// After how many changes without such a pause it does so all the same.
const MOST_UNTIDY: u32 = 1_024;
/// How often it tries again what could not be written.
const RETRY: Duration = Duration::from_secs(1);
/// How often it looks whether backends kept for open connections have become free.
const LEFTOVERS: Duration = Duration::from_secs(10);

/// See the module. Moved by changes and failures only: whoever asks for numbers does not put it
/// off.
#[derive(Debug)]
pub(super) struct Pace {
    next: Instant,
    /// Changes since the last time.
    changes: u32,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { next: now + IDLE, changes: 0 }
    }

    /// Whether it is time.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.changes >= MOST_UNTIDY || now >= self.next
    }

    /// How long until then.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now)
    }

    /// It has been done; `is_behind` says whether something is still to be written.
    pub(super) fn tidied(&mut self, now: Instant, is_behind: bool) {
        self.changes = 0;
        self.next = now + if is_behind { RETRY } else { LEFTOVERS };
    }

    /// Something has changed. That puts off only what frees: another try has its time.
    pub(super) fn changed(&mut self, now: Instant, is_behind: bool) {
        self.changes = self.changes.saturating_add(1);
        if is_behind {
            self.failed(now);
        } else {
            self.next = now + IDLE;
        }
    }

    /// Something could not be written.
    pub(super) fn failed(&mut self, now: Instant) {
        self.next = self.next.min(now + RETRY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFTEN: Duration = Duration::from_millis(50);

    #[test]
    fn another_try_comes_however_often_something_changes() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.tidied(start, true);
        let mut now = start;
        while !pace.is_due(now) {
            assert!(now < start + RETRY, "it is put off");
            now += OFTEN;
            pace.changed(now, true);
        }
        assert_eq!(now, start + RETRY);
        pace.tidied(now, true);
        assert_eq!(pace.wait(now), RETRY);
    }

    #[test]
    fn changes_put_off_freeing_but_not_for_ever() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let mut now = start;
        for _ in 1..MOST_UNTIDY {
            now += OFTEN;
            pace.changed(now, false);
            assert!(!pace.is_due(now));
        }
        pace.changed(now, false);
        assert!(pace.is_due(now));
        pace.tidied(now, false);
        assert_eq!(pace.wait(now), LEFTOVERS);
        pace.changed(now, false);
        assert_eq!(pace.wait(now), IDLE);
    }

    #[test]
    fn a_failure_waits_for_nothing_but_its_time() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.tidied(start, false);
        pace.failed(start);
        assert_eq!(pace.wait(start), RETRY);
        pace.changed(start, false);
        pace.failed(start);
        assert_eq!(pace.wait(start), IDLE, "what comes sooner stays");
    }
}
