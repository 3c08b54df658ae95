//! Files for a bug report, cut into messages.

use crate::wire::Bundle;

/// Most bytes in one message.
const PART: usize = 1 << 20;

/// The files, name and content, in parts; all but the last say that more follow. An empty file has a
/// part as well.
#[must_use]
pub fn in_parts(files: &[(&str, String)]) -> Vec<Bundle> {
    let mut parts = Vec::new();
    for (name, content) in files {
        let mut rest = content.as_str();
        loop {
            let (part, after) = rest.split_at(rest.floor_char_boundary(PART));
            let (name, content) = ((*name).to_owned(), part.to_owned());
            parts.push(Bundle { name, content, more: true });
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
    }
    if let Some(last) = parts.last_mut() {
        last.more = false;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_in_parts_and_the_last_says_so() {
        let files = [("a", "é".repeat(PART)), ("empty", String::new()), ("b", "x".to_owned())];
        let parts = in_parts(&files);
        let shape: Vec<_> =
            parts.iter().map(|it| (it.name.as_str(), it.content.len(), it.more)).collect();
        let expected = [("a", PART, true), ("a", PART, true), ("empty", 0, true), ("b", 1, false)];
        assert_eq!(shape, expected);
    }
}
