//! Other names for IP addresses: each always the same within an archive, and not to be guessed from it.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;

/// The key, drawn for each archive.
#[derive(Debug, Default)]
pub(super) struct Addresses(RandomState);

impl Addresses {
    /// Text without addresses, but for those that every machine has.
    pub(super) fn hide(&self, text: &str) -> String {
        let is_of_address = |it: char| it.is_ascii_hexdigit() || it == '.' || it == ':';
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(is_of_address) {
            let (before, from) = rest.split_at(at);
            out.push_str(before);
            let end = from.find(|it| !is_of_address(it)).unwrap_or(from.len());
            let (word, after) = from.split_at(end);
            // `a1` in front of `-b2` is no address; nor is what goes on as a word.
            let joined = before.chars().next_back().is_some_and(char::is_alphanumeric)
                || after.chars().next().is_some_and(char::is_alphanumeric);
            let whole = if joined { None } else { self.of_word(word) };
            out.push_str(&whole.unwrap_or_else(|| word.to_owned()));
            rest = after;
        }
        out + rest
    }

    /// `10.0.0.1`, `10.0.0.1:80`, `fd00::1`, each perhaps with a point or a colon behind it.
    fn of_word(&self, word: &str) -> Option<String> {
        let bare = word.trim_end_matches(['.', ':']);
        let whole = [word, bare].into_iter().find_map(|it| Some((it, it.parse::<IpAddr>().ok()?)));
        let found = whole.or_else(|| {
            let (address, _) = word.split_once(':')?;
            Some((address, address.parse::<IpAddr>().ok()?))
        });
        let (text, address) = found?;
        if address.is_loopback() || address.is_unspecified() {
            return None;
        }
        let rest = word.get(text.len()..).unwrap_or_default();
        let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
        Some(format!("{family}-{:016x}{rest}", self.0.hash_one(address)))
    }
}
