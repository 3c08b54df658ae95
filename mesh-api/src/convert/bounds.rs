//! Numbers and durations that must be within a range, and what is said of those that are not.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::manifest::duration::format_duration;
use crate::violation::Fields;

/// What a field may hold: from, to, and how that is written.
pub(super) trait Bounded: Copy + PartialOrd {
    /// As in a manifest.
    fn shown(self) -> String;
}

impl Bounded for u32 {
    fn shown(self) -> String {
        self.to_string()
    }
}

impl Bounded for Duration {
    fn shown(self) -> String {
        format_duration(self)
    }
}

/// A field that stands for `default` where it is left out; `None` where it is out of range.
pub(super) fn or<T: Bounded>(
    fields: &mut Fields,
    field: &str,
    value: Option<T>,
    range: &RangeInclusive<T>,
    default: T,
) -> Option<T> {
    let Some(value) = value else { return Some(default) };
    let hint = || format!(", or leave it out for {}", default.shown());
    check(fields, field, value, range, hint)
}

/// A field that means nothing where it is left out; `None` also where it is out of range.
pub(super) fn optional<T: Bounded>(
    fields: &mut Fields,
    field: &str,
    value: Option<T>,
    range: &RangeInclusive<T>,
) -> Option<T> {
    check(fields, field, value?, range, || ", or leave it out".to_owned())
}

fn check<T: Bounded>(
    fields: &mut Fields,
    field: &str,
    value: T,
    range: &RangeInclusive<T>,
    hint: impl Fn() -> String,
) -> Option<T> {
    if range.contains(&value) {
        return Some(value);
    }
    let (from, to) = (range.start().shown(), range.end().shown());
    let value = value.shown();
    fields.invalid(field, format!("{value} is out of range: use {from} to {to}{}", hint()));
    None
}

/// A percentage that has been checked.
pub(super) fn percent(value: u32) -> u8 {
    u8::try_from(value).unwrap_or(u8::MAX)
}

/// As [`Duration::from_millis`], of what may be absent.
pub(super) fn duration(ms: Option<u64>) -> Option<Duration> {
    ms.map(Duration::from_millis)
}
