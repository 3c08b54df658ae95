//! What is logged, and for how long: a change may end by itself. Pure; time is since any fixed moment.

use std::time::Duration;

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// As in `RUST_LOG`.
    pub directives: String,
    /// Whether each connection that ends has a line.
    pub access_log: bool,
    /// One of so many connections has one; at least 1.
    pub access_sample: u32,
}

/// What is logged now, and what it goes back to.
#[derive(Clone, Debug)]
pub struct Levels {
    start: Setting,
    /// What stays when what is for a while is over.
    lasting: Setting,
    passing: Option<(Setting, Duration)>,
}

impl Levels {
    /// As the program was started.
    #[must_use]
    pub fn new(start: Setting) -> Self {
        Self { lasting: start.clone(), start, passing: None }
    }

    /// What is logged now.
    #[must_use]
    pub fn current(&self) -> &Setting {
        self.passing.as_ref().map_or(&self.lasting, |(setting, _)| setting)
    }

    /// What holds where a change for so long does not say something else: a change for good does not
    /// make that last which was for a while.
    #[must_use]
    pub fn base(&self, lasts: Option<Duration>) -> &Setting {
        if lasts.is_some() { self.current() } else { &self.lasting }
    }

    /// What was logged at the start.
    #[must_use]
    pub const fn start(&self) -> &Setting {
        &self.start
    }

    /// How long until it is as before; `None`: it stays.
    #[must_use]
    pub fn remaining(&self, now: Duration) -> Option<Duration> {
        self.passing.as_ref().map(|(_, end)| end.saturating_sub(now))
    }

    /// Logs something else: for this long and then what was to last before, or `None` for good.
    pub fn set(&mut self, setting: Setting, lasts: Option<Duration>, now: Duration) {
        if let Some(lasts) = lasts {
            self.passing = Some((setting, now.saturating_add(lasts)));
        } else {
            self.lasting = setting;
            self.passing = None;
        }
    }

    /// When to call [`Self::expire`].
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        self.passing.as_ref().map(|(_, end)| *end)
    }

    /// Ends what is over. Returns what is logged from now on, if that is something else.
    pub fn expire(&mut self, now: Duration) -> Option<&Setting> {
        self.passing.take_if(|(_, end)| *end <= now)?;
        Some(&self.lasting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(directives: &str) -> Setting {
        Setting { directives: directives.to_owned(), access_log: false, access_sample: 1 }
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_for_a_while_goes_back_to_what_was_to_last() {
        let mut levels = Levels::new(setting("info"));
        assert_eq!((levels.due(), levels.remaining(at(0))), (None, None));
        levels.set(setting("debug"), Some(at(10)), at(5));
        assert_eq!(levels.current(), &setting("debug"));
        assert_eq!((levels.due(), levels.remaining(at(7))), (Some(at(15)), Some(at(8))));
        // Another one does not make the first the one to go back to.
        levels.set(setting("trace"), Some(at(10)), at(10));
        assert_eq!(levels.expire(at(19)), None);
        assert_eq!(levels.current(), &setting("trace"));
        assert_eq!(levels.expire(at(20)), Some(&setting("info")));
        assert_eq!((levels.current(), levels.due()), (&setting("info"), None));
        assert_eq!(levels.expire(at(21)), None);
    }

    #[test]
    fn what_is_set_for_good_stays() {
        let mut levels = Levels::new(setting("info"));
        levels.set(setting("debug"), Some(at(10)), at(0));
        levels.set(setting("warn"), None, at(5));
        assert_eq!(levels.expire(at(10)), None);
        assert_eq!((levels.current(), levels.start()), (&setting("warn"), &setting("info")));
        levels.set(setting("debug"), Some(at(1)), at(11));
        assert_eq!(
            (levels.base(None), levels.base(Some(at(1)))),
            (&setting("warn"), &setting("debug"))
        );
        assert_eq!(levels.expire(at(12)), Some(&setting("warn")));
    }
}
