//! URLs without who asks: what is in front of `@`, and parameters that are secrets.

use super::{GONE, names::is_secret};

/// One line.
pub(super) fn redact(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, from)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        let ends = |it: char| it.is_whitespace() || matches!(it, '"' | '\'' | '<' | '>' | '`');
        let end = from.find(ends).unwrap_or(from.len());
        let (url, after) = from.split_at(end);
        // One that stands right behind another is looked at by itself.
        let (url, next) = match url.find("://") {
            Some(at) => split_before_scheme(url, at),
            None => (url, ""),
        };
        out.push_str(&one(url));
        if next.is_empty() {
            rest = after;
        } else {
            rest = from.get(url.len()..).unwrap_or_default();
        }
    }
    out + rest
}

/// The part in front of the scheme whose `://` is at a place. What is in front of `@` may look like
/// one, so it has to end there.
fn split_before_scheme(url: &str, at: usize) -> (&str, &str) {
    let (before, from) = url.split_at(at);
    if from.contains('@') && !before.contains('@') {
        return (url, "");
    }
    let letters = before.chars().rev().take_while(char::is_ascii_alphanumeric).count();
    url.split_at(before.len() - letters)
}

fn one(url: &str) -> String {
    let (user, rest) = match url.rsplit_once('@') {
        Some((_, rest)) => (format!("{GONE}@"), rest),
        None => (String::new(), url),
    };
    let mut out = user;
    for part in rest.split_inclusive(['?', '&', '#', ';']) {
        let end = part.trim_end_matches(['?', '&', '#', ';']);
        match end.split_once('=') {
            Some((name, _)) if is_secret(name) => {
                out.push_str(name);
                out.push('=');
                out.push_str(GONE);
                out.push_str(part.get(end.len()..).unwrap_or_default());
            }
            Some(_) | None => out.push_str(part),
        }
    }
    out
}
