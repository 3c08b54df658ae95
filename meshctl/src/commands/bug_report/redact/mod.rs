//! Takes secrets out of text: what is named like one, what is in a URL in front of `@`, private keys,
//! and what looks like a token. It rather takes too much. Pure.

mod addresses;
mod names;
#[cfg(test)]
mod tests;
mod urls;

use std::path::Path;

use serde_json::Value;

use self::addresses::Addresses;
use self::names::is_secret;

/// What stands instead.
const GONE: &str = "[redacted]";
/// Where a private key begins and ends.
const KEY: (&str, &str) = ("-----BEGIN ", "-----END ");
/// What tokens of well-known issuers begin with.
const PREFIXES: [&str; 16] = [
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xapp-",
    "sk-",
    "sk_live_",
    "AKIA",
    "ASIA",
    "AIza",
    "hvs.",
];
/// Shortest of these.
const SHORTEST: usize = 16;
/// From which length on letters of both cases and digits in a row are no word.
const RANDOM: usize = 24;

/// See the module.
#[derive(Debug)]
pub(super) struct Redactor {
    addresses: Option<Addresses>,
}

impl Redactor {
    /// With `addresses`, IP addresses become other names, each always the same one.
    pub(super) fn new(addresses: bool) -> Self {
        Self { addresses: addresses.then(Addresses::default) }
    }

    /// A file: JSON field by field, everything else as text.
    pub(super) fn file(&self, name: &str, text: &str) -> String {
        let is_json = Path::new(name).extension().is_some_and(|it| it == "json");
        let parsed = is_json.then(|| serde_json::from_str::<Value>(text).ok()).flatten();
        let Some(value) = parsed else { return self.text(text) };
        let value = self.value(value, false);
        match serde_json::to_string_pretty(&value) {
            Ok(text) => text + "\n",
            Err(_) => self.text(text),
        }
    }

    /// Everything below a name that is a secret's goes, whatever it is.
    fn value(&self, value: Value, secret: bool) -> Value {
        match value {
            Value::Object(fields) => {
                let field = |(name, value): (String, Value)| {
                    let secret = secret || is_secret(&name);
                    (self.text(&name), self.value(value, secret))
                };
                Value::Object(fields.into_iter().map(field).collect())
            }
            Value::Array(items) => {
                Value::Array(items.into_iter().map(|it| self.value(it, secret)).collect())
            }
            Value::String(_) | Value::Number(_) if secret => Value::String(GONE.to_owned()),
            Value::String(text) => Value::String(self.text(&text)),
            Value::Null | Value::Bool(_) | Value::Number(_) => value,
        }
    }

    /// Text of any kind.
    pub(super) fn text(&self, text: &str) -> String {
        let without = private_keys(text);
        let lines = without.split('\n').map(|line| words(&named(&urls::redact(line))));
        let mut text = lines.collect::<Vec<_>>().join("\n");
        if let Some(addresses) = &self.addresses {
            text = addresses.hide(&text);
        }
        text
    }
}

/// Without private keys. One without an end takes the rest with it.
fn private_keys(text: &str) -> String {
    let (begin, end) = KEY;
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, from)) = rest.split_once(begin) {
        out.push_str(before);
        let label = from.split_once("-----").map_or(from, |(label, _)| label);
        if !label.contains("PRIVATE KEY") {
            out.push_str(begin);
            rest = from;
            continue;
        }
        out.push_str(GONE);
        let after = from.split_once(end).and_then(|(_, after)| after.split_once("-----"));
        rest = after.map_or("", |(_, after)| after);
    }
    out + rest
}

/// Without the values of names that are secrets': `password=…`, `token: …`, `--api-key …`,
/// `"secret":"…"`.
fn named(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(is_of_name) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let end = from.find(|it| !is_of_name(it)).unwrap_or(from.len());
        let (name, after) = from.split_at(end);
        out.push_str(name);
        rest = after;
        // `mesh_agent::sockets::pass: …` begins a log line.
        let is_path = before.ends_with("::") && after.starts_with(": ");
        if is_path || !is_secret(name) {
            continue;
        }
        let Some((between, value)) = separated(after, name.starts_with("--")) else { continue };
        let length = value_length(value, between);
        let (value, after) = value.split_at(length);
        out.push_str(between);
        if !value.is_empty() {
            out.push_str(GONE);
        }
        rest = after;
    }
    out + rest
}

const fn is_of_name(it: char) -> bool {
    it.is_ascii_alphanumeric() || matches!(it, '_' | '-' | '.')
}

/// What stands between a name and its value, and the value.
fn separated(after: &str, is_flag: bool) -> Option<(&str, &str)> {
    let closed = after.trim_start_matches(['"', '\'', '\\', ']']);
    let spaced = closed.trim_start();
    let value = spaced.strip_prefix(":=").or_else(|| spaced.strip_prefix(['=', ':']));
    let value = match value {
        Some(value) => value,
        None if is_flag && spaced.len() < closed.len() => spaced,
        None => return None,
    };
    let value = value.trim_start();
    Some((after.get(..after.len() - value.len())?, value))
}

/// How much of the text is the value: up to the closing quote, to the end of a word, or to the end
/// of the line where it may have several.
fn value_length(value: &str, between: &str) -> usize {
    let quote = ["\\\"", "\"", "'"].into_iter().find(|quote| value.starts_with(quote));
    if let Some(quote) = quote {
        let from = quote.len();
        let inner = value.get(from..).unwrap_or_default();
        let mut escaped = false;
        for (at, it) in inner.char_indices() {
            let closes = inner.get(at..).is_some_and(|rest| rest.starts_with(quote));
            if closes && !escaped {
                return from + at + quote.len();
            }
            escaped = it == '\\' && !escaped;
        }
        return value.len();
    }
    if between.trim_end().ends_with(':') {
        return value.len();
    }
    value.find(|it: char| it.is_whitespace() || it == '"').unwrap_or(value.len())
}

/// Without words that look like secrets.
fn words(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    let mut after_scheme = false;
    while let Some(at) = rest.find(is_of_token) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let end = from.find(|it| !is_of_token(it)).unwrap_or(from.len());
        let (word, after) = from.split_at(end);
        let is_plain = word.chars().all(|it| it.is_ascii_lowercase());
        let secret = looks_secret(word) || (after_scheme && !is_plain);
        out.push_str(if secret { GONE } else { word });
        let is_scheme =
            ["bearer", "basic", "digest"].iter().any(|it| word.eq_ignore_ascii_case(it));
        after_scheme = is_scheme && after.starts_with(' ');
        rest = after;
    }
    out + rest
}

const fn is_of_token(it: char) -> bool {
    it.is_ascii_alphanumeric() || matches!(it, '_' | '-' | '.' | '+' | '/' | '=' | '~')
}

fn looks_secret(word: &str) -> bool {
    let mut parts = word.split('=');
    let one = |part: &str| {
        let known = PREFIXES.iter().any(|prefix| part.starts_with(prefix));
        let is_jwt = part.starts_with("eyJ") && part.matches('.').count() == 2;
        (known || is_jwt) && part.len() >= SHORTEST
    };
    // A path or a name has its separators; what is random has few.
    let random = |part: &str| {
        let has = |what: fn(&char) -> bool| part.chars().any(|it| what(&it));
        part.len() >= RANDOM
            && has(char::is_ascii_lowercase)
            && has(char::is_ascii_uppercase)
            && has(char::is_ascii_digit)
    };
    parts.any(|part| one(part) || part.split(['/', '.', ':']).any(|it| one(it) || random(it)))
}
