//! Which log lines are written, and how they look. They go to standard error.

use std::io::{self, IsTerminal as _};
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::{Layer, Registry, reload};

use crate::TARGET;
use crate::args::LogFormat;
use crate::recent::Recent;

/// What is logged unless told otherwise.
const DEFAULT: &str = "info";

type Filter = reload::Layer<EnvFilter, Registry>;

/// Why the filter stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Nothing said.
    #[error("no directives: say a level, as `info`, or targets with levels, as `info,h2=debug`")]
    Empty,
    /// Not understood.
    #[error("{directives:?} cannot be understood: {source}; write it like `info,h2=debug`")]
    Invalid {
        /// What was said.
        directives: String,
        /// What is wrong with it.
        #[source]
        source: ParseError,
    },
    /// The program is ending.
    #[error("the log is gone: {0}")]
    Gone(#[source] reload::Error),
}

/// Reads and changes which log lines are written, from any thread.
#[derive(Clone, Debug)]
pub struct LogHandle {
    filter: reload::Handle<EnvFilter, Registry>,
    current: Arc<Mutex<String>>,
}

impl LogHandle {
    /// Writes from now on what these directives say, and nothing else. They are those of
    /// `RUST_LOG`: levels by target, as in `info,mesh_agent::xds=debug`.
    pub fn set(&self, directives: &str) -> Result<(), LogError> {
        let directives = directives.trim();
        let filter = parse(directives)?;
        // Held meanwhile, so that of two callers the later is also the one that is told.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        self.filter.reload(filter).map_err(LogError::Gone)?;
        directives.clone_into(&mut current);
        drop(current);
        Ok(())
    }

    /// The directives in force.
    #[must_use]
    pub fn current(&self) -> String {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn parse(directives: &str) -> Result<EnvFilter, LogError> {
    if directives.is_empty() {
        return Err(LogError::Empty);
    }
    // Spans are for traces: they would stand in front of every line that is logged within.
    let all = format!("{directives},{TARGET}=off");
    EnvFilter::builder()
        .parse(all)
        .map_err(|source| LogError::Invalid { directives: directives.to_owned(), source })
}

/// The filter that the environment asks for, and the handle that changes it.
pub(crate) fn filter() -> (Filter, LogHandle) {
    let wanted = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    let wanted = wanted.trim();
    let (filter, current) = match parse(wanted) {
        Ok(filter) => (filter, wanted),
        Err(_) => (parse(DEFAULT).unwrap_or_default(), DEFAULT),
    };
    let (filter, handle) = reload::Layer::new(filter);
    (filter, LogHandle { filter: handle, current: Arc::new(Mutex::new(current.to_owned())) })
}

/// Writes what the filter lets through.
pub(crate) fn layer(
    format: LogFormat,
    filter: Filter,
    recent: Recent,
) -> Box<dyn Layer<Registry> + Send + Sync> {
    let lines = tracing_subscriber::fmt::layer().with_writer(recent).with_ansi(colour());
    match format {
        LogFormat::Plain => lines.with_filter(filter).boxed(),
        LogFormat::Json => lines.json().with_filter(filter).boxed(),
    }
}

/// For people at a terminal who did not ask for none (no-color.org).
fn colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tracing::subscriber::with_default;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
        }
    }

    #[test]
    fn the_level_changes_while_the_program_runs() {
        let (filter, handle) = filter();
        handle.set("info").unwrap();
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(layer.with_filter(filter));
        with_default(subscriber, || {
            let say = || {
                tracing::info!("first");
                tracing::debug!("second");
                tracing::debug!(target: "h2", "third");
                lines.take()
            };
            let said = say();
            assert!(said.contains("first") && !said.contains("second"), "{said}");

            handle.set("warn,h2=debug").unwrap();
            assert_eq!(handle.current(), "warn,h2=debug");
            let said = say();
            assert!(!said.contains("first") && !said.contains("second"), "{said}");
            assert!(said.contains("third"), "{said}");

            for bad in ["", " ", "warn,h2=loud", "[", "a=b=c"] {
                assert!(handle.set(bad).is_err(), "{bad:?}");
            }
            assert_eq!(handle.current(), "warn,h2=debug");
            assert!(say().contains("third"));
        });
    }

    #[test]
    fn spans_of_traces_are_in_no_line() {
        let (filter, handle) = filter();
        handle.set("trace").unwrap();
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(layer.with_filter(filter));
        with_default(subscriber, || {
            let span = crate::trace_span!("store.commit");
            assert!(span.is_disabled());
            span.in_scope(|| tracing::info!("within"));
        });
        let said = lines.take();
        assert!(said.contains("within") && !said.contains("store.commit"), "{said}");
    }
}
