//! File sizes, shown to keep an eye on them; a habit, not a gate.

use super::source::Source;
use crate::ui;

/// Above this a file no longer reads in one sitting.
const LARGE: usize = 400;

/// Prints the median, and the files that should be split soon.
pub(super) fn show(sources: &[Source]) {
    let mut sizes: Vec<_> = sources
        .iter()
        .filter(|source| source.is_rust())
        .map(|source| (source.text.lines().count(), source.path.as_str()))
        .collect();
    sizes.sort_unstable();
    let total: usize = sizes.iter().map(|(lines, _)| lines).sum();
    let median = sizes.get(sizes.len() / 2).map_or(0, |(lines, _)| *lines);
    let large: Vec<_> = sizes.iter().rev().filter(|(lines, _)| *lines > LARGE).collect();
    ui::step(
        "tidy",
        format_args!(
            "{} Rust files, {total} lines, median {median}, {} above {LARGE}",
            sizes.len(),
            large.len()
        ),
    );
    for (lines, path) in large {
        ui::step("tidy", format_args!("  {lines:5} {path}"));
    }
}
