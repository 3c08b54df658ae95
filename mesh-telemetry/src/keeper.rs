//! Keeps what a program logs, as people change it while it runs, and ends what was for a while.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::levels::{Levels, Setting};
use crate::log::{LogError, LogHandle};

/// Longest time for which something else is logged.
const LONGEST: Duration = Duration::from_hours(24);

/// What is to be logged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// As in `RUST_LOG`; empty: what the program was started with.
    pub directives: String,
    /// After which it is as before; `None`: it stays.
    pub lasts: Option<Duration>,
    /// Whether each connection that ends has a line; `None`: as it is, or, where this is for good, as it
    /// is for good.
    pub access_log: Option<bool>,
    /// One of so many connections has one; 0: likewise.
    pub access_sample: u32,
}

/// Why it stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The directives.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The time.
    #[error("it can be for 24h at most")]
    TooLong,
    /// [`crate::init`] was not called, or nothing is logged.
    #[error("nothing is logged here")]
    NoLog,
}

/// See the module.
pub struct LogKeeper {
    began: Instant,
    levels: Mutex<Levels>,
    changed: Notify,
    handle: Option<LogHandle>,
    access: Box<dyn Fn(bool, u32) + Send + Sync>,
}

impl fmt::Debug for LogKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogKeeper").field("levels", &self.levels).finish_non_exhaustive()
    }
}

impl LogKeeper {
    /// As the program was started. `access_log`: whether each connection that ends has a line;
    /// `access` is told when that changes, and one of how many has one.
    #[must_use]
    pub fn new(
        handle: Option<LogHandle>,
        access_log: bool,
        access: impl Fn(bool, u32) + Send + Sync + 'static,
    ) -> Self {
        let directives = handle.as_ref().map(LogHandle::current).unwrap_or_default();
        let start = Setting { directives, access_log, access_sample: 1 };
        Self {
            began: Instant::now(),
            levels: Mutex::new(Levels::new(start)),
            changed: Notify::new(),
            handle,
            access: Box::new(access),
        }
    }

    /// What is logged now, and how long until it is as before; `None`: it stays.
    #[must_use]
    pub fn current(&self) -> (Setting, Option<Duration>) {
        let levels = self.lock();
        (levels.current().clone(), levels.remaining(self.began.elapsed()))
    }

    /// Logs something else.
    pub fn set(&self, wanted: &Wanted) -> Result<(), KeepError> {
        let Wanted { directives, lasts, access_log, access_sample } = wanted;
        if lasts.is_some_and(|lasts| lasts > LONGEST) {
            return Err(KeepError::TooLong);
        }
        let mut levels = self.lock();
        let mut setting = levels.base(*lasts).clone();
        let chosen = if directives.is_empty() { &levels.start().directives } else { directives };
        setting.directives.clone_from(chosen);
        setting.access_log = access_log.unwrap_or(setting.access_log);
        if *access_sample != 0 {
            setting.access_sample = *access_sample;
        }
        self.apply(&setting)?;
        let Setting { directives, access_log, access_sample } = &setting;
        tracing::info!(directives, access_log, access_sample, ?lasts, "the log was changed");
        levels.set(setting, *lasts, self.began.elapsed());
        drop(levels);
        self.changed.notify_one();
        Ok(())
    }

    /// Ends what was for a while, for ever.
    pub async fn run(&self) {
        loop {
            let due = self.lock().due();
            let wait = due.map(|due| due.saturating_sub(self.began.elapsed()));
            tokio::select! {
                () = self.changed.notified() => continue,
                () = sleep(wait) => {}
            }
            let mut levels = self.lock();
            let Some(setting) = levels.expire(self.began.elapsed()) else { continue };
            match self.apply(setting) {
                Ok(()) => tracing::info!(directives = setting.directives, "the log is as before"),
                Err(error) => tracing::error!(%error, "the log stays as it is"),
            }
        }
    }

    fn apply(&self, setting: &Setting) -> Result<(), KeepError> {
        let handle = self.handle.as_ref().ok_or(KeepError::NoLog)?;
        if handle.current() != setting.directives {
            handle.set(&setting.directives)?;
        }
        (self.access)(setting.access_log, setting.access_sample);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Levels> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// What the access log was told.
    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<Vec<(bool, u32)>>>);

    impl Told {
        fn listen(&self) -> impl Fn(bool, u32) + Send + Sync + 'static {
            let told = self.clone();
            move |on, sample| told.0.lock().unwrap().push((on, sample))
        }
    }

    #[test]
    fn what_cannot_be_set_changes_nothing() {
        let told = Told::default();
        let keeper = LogKeeper::new(None, true, told.listen());
        let before = keeper.current();
        assert_eq!((before.0.access_log, before.0.access_sample, before.1), (true, 1, None));
        let wanted = Wanted { access_log: Some(false), ..Wanted::default() };
        assert!(matches!(keeper.set(&wanted), Err(KeepError::NoLog)));
        let lasts = Some(LONGEST + Duration::from_millis(1));
        assert!(matches!(keeper.set(&Wanted { lasts, ..wanted }), Err(KeepError::TooLong)));
        assert_eq!(keeper.current(), before);
        assert!(told.0.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn levels_and_the_access_log_change_and_go_back() {
        let (filter, handle) = crate::log::filter();
        // The filter lives as long as this.
        let _filter = filter;
        handle.set("info").unwrap();
        let told = Told::default();
        let keeper = LogKeeper::new(Some(handle.clone()), false, told.listen());
        let wanted = Wanted {
            directives: "debug".to_owned(),
            lasts: Some(Duration::from_millis(20)),
            access_log: Some(true),
            access_sample: 5,
        };
        keeper.set(&wanted).unwrap();
        assert_eq!(handle.current(), "debug");
        let (setting, remaining) = keeper.current();
        assert_eq!((setting.access_log, setting.access_sample), (true, 5));
        assert!(remaining.is_some_and(|it| it <= Duration::from_millis(20)));
        let back = async {
            while keeper.current().1.is_some() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = keeper.run() => {}
            () = back => {}
        }
        assert_eq!(handle.current(), "info");
        assert_eq!(*told.0.lock().unwrap(), [(true, 5), (false, 1)]);
        let bad = Wanted { directives: "a=b=c".to_owned(), ..Wanted::default() };
        assert!(matches!(keeper.set(&bad), Err(KeepError::Log(_))));
        assert_eq!(handle.current(), "info");
    }
}
