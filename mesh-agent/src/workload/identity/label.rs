//! Makes any text a label of metrics.

use std::fmt::Write as _;

/// Longest name, in characters.
const MAX: usize = 100;
/// What is left of a longer one, before `~` and eight digits that tell it from others.
const KEPT: usize = MAX - 9;

/// The text with everything but printable ASCII replaced by `_`, cut where it is too long.
pub(super) fn fit(text: &str) -> String {
    let keep = |c: char| if c.is_ascii_graphic() { c } else { '_' };
    let mut label: String = text.chars().map(keep).collect();
    if label.len() > MAX {
        label.truncate(KEPT);
        // Infallible: the target is a string.
        write!(label, "~{:08x}", fnv1a(text) & 0xffff_ffff).unwrap_or_default();
    }
    if label.is_empty() { "_".to_owned() } else { label }
}

/// FNV-1a, 64 bits: the same number in every build, unlike the hashers of `std`.
fn fnv1a(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}
