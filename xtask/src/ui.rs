//! The one door to the terminal: whole lines, written under the lock, so that the output of
//! children and our own never mix within a line.

use std::fmt::Display;
use std::io::Write as _;
use std::time::Duration;

/// Writes one line to standard output. A closed pipe is not our failure, so errors are dropped.
pub(crate) fn say(line: impl Display) {
    writeln!(std::io::stdout().lock(), "{line}").ok();
}

/// Writes one line to standard error.
pub(crate) fn warn(line: impl Display) {
    writeln!(std::io::stderr().lock(), "{line}").ok();
}

/// Announces a step, in the shape all commands share.
pub(crate) fn step(name: &str, what: impl Display) {
    say(format_args!("{name}: {what}"));
}

/// A duration for people: `0.4 s`, `12.3 s`, `3 min 05 s`.
pub(crate) fn duration(elapsed: Duration) -> String {
    if elapsed < Duration::from_mins(1) {
        return format!("{:.1} s", elapsed.as_secs_f64());
    }
    let seconds = elapsed.as_secs();
    format!("{} min {:02} s", seconds / 60, seconds % 60)
}

/// A size for people: `742 B`, `50.8 kB`.
pub(crate) fn size(bytes: usize) -> String {
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    format!("{}.{} kB", bytes / 1000, bytes % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_read_well() {
        assert_eq!(duration(Duration::from_millis(420)), "0.4 s");
        assert_eq!(duration(Duration::from_secs(185)), "3 min 05 s");
        assert_eq!(size(742), "742 B");
        assert_eq!(size(50_792), "50.7 kB");
    }
}
