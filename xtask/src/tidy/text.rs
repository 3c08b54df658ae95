//! What holds for every text file: no left-overs.

use super::source::{Source, Violation};

/// Left-overs of a merge; spelled in pieces so that this file passes.
const MERGE_MARKERS: [&str; 3] =
    [concat!("<<<<", "<<< "), concat!(">>>>", ">>> "), concat!("====", "===")];
/// Notes to oneself.
const NOTES: [&str; 2] = [concat!("FIX", "ME"), concat!("TO", "DO")];

/// All breaches in one file.
pub(super) fn check(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(source.text.split('\n')) {
        if line.ends_with([' ', '\t', '\r']) {
            found.push(source.violation(number, "white space at the end of the line: remove it"));
        }
        if MERGE_MARKERS.iter().any(|marker| line.starts_with(marker))
            && !is_underline(source, line)
        {
            found.push(source.violation(number, "a merge marker: finish the merge"));
        }
        if NOTES.iter().any(|note| super::source::has_word(line, note)) {
            found.push(source.violation(number, "a note to oneself: do it now or open an issue"));
        }
    }
    if !source.text.is_empty() && !source.text.ends_with('\n') {
        let last = source.text.lines().count();
        found.push(source.violation(last, "the last line does not end: add a line break"));
    }
    found
}

/// Markdown underlines headings with a row of `=`.
fn is_underline(source: &Source, line: &str) -> bool {
    source.is_markdown() && line.chars().all(|c| c == '=')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<(usize, String)> {
        let found = check(&Source::new(path, text));
        found.into_iter().map(|v| (v.line, v.message)).collect()
    }

    #[test]
    fn finds_left_overs() {
        let text = format!("a \nb\n{}HEAD\n// {}: later\nend", MERGE_MARKERS[0], NOTES[0]);
        let lines: Vec<_> = messages("a.toml", &text).into_iter().map(|(line, _)| line).collect();
        assert_eq!(lines, [1, 3, 4, 5]);
    }

    #[test]
    fn headings_may_be_underlined_in_markdown_only() {
        assert!(messages("a.md", "Title\n=======\n").is_empty());
        assert_eq!(messages("a.rs", "Title\n=======\n").len(), 1);
    }
}
