//! The last log lines, kept in memory for a bug report: few, and each of a bounded length.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tracing_subscriber::fmt::MakeWriter;

/// Lines that are kept.
const LINES: usize = 1_000;
/// Bytes of a line that are kept.
const LENGTH: usize = 2_048;

/// When each was written, and the line.
type Lines = VecDeque<(SystemTime, Box<str>)>;

/// The last lines; clones are of the same ones.
#[derive(Clone, Debug, Default)]
pub struct Recent(Arc<Mutex<Lines>>);

impl Recent {
    /// The lines of the last `since`, oldest first.
    #[must_use]
    pub fn lines(&self, since: Duration) -> Vec<String> {
        let from = SystemTime::now().checked_sub(since).unwrap_or(SystemTime::UNIX_EPOCH);
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|(at, _)| *at >= from).map(|(_, line)| line.to_string()).collect()
    }

    fn add(&self, line: &[u8], now: SystemTime) {
        let cut = line.get(..LENGTH).unwrap_or(line);
        let text = plain(&String::from_utf8_lossy(cut));
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back((now, text.into()));
    }
}

/// Without the colours of a terminal.
fn plain(text: &str) -> String {
    let mut parts = text.trim_end_matches('\n').split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once('m').map_or("", |(_, rest)| rest));
    }
    plain
}

/// Writes to standard error, and keeps what was written.
impl<'a> MakeWriter<'a> for Recent {
    type Writer = Both;

    fn make_writer(&'a self) -> Both {
        Both { recent: self.clone() }
    }
}

/// One line on its way.
#[derive(Debug)]
pub struct Both {
    recent: Recent,
}

impl Write for Both {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A line comes in one piece. It is kept also where nobody reads standard error.
        self.recent.add(bytes, SystemTime::now());
        io::stderr().write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_short_and_plain() {
        let recent = Recent::default();
        let now = SystemTime::now();
        for at in 0..LINES + 5 {
            recent.add(format!("\u{1b}[32mline\u{1b}[0m {at}\n").as_bytes(), now);
        }
        let all = recent.lines(Duration::from_mins(1));
        assert_eq!((all.len(), all[0].as_str()), (LINES, "line 5"));
        recent.add(&[b'x'; 5_000], now);
        let all = recent.lines(Duration::MAX);
        assert_eq!(all.last().map(String::len), Some(LENGTH));
    }

    #[test]
    fn what_is_too_old_is_left_out() {
        let recent = Recent::default();
        let now = SystemTime::now();
        recent.add(b"old\n", now - Duration::from_mins(10));
        recent.add(b"new\n", now);
        assert_eq!(recent.lines(Duration::from_mins(5)), ["new"]);
        assert_eq!(recent.lines(Duration::from_mins(11)), ["old", "new"]);
    }
}
