//! An object of which parts could not be read is checked all the same, so that a wrong type does
//! not hide a wrong value. Here is decided which of the violations found then are real, and which
//! only come from what was left out.

use super::de::Finding;
use super::located::has;
use super::tree::Node;
use crate::violation::{FieldError, Reason};

/// Whether a violation is one also when everything in `findings` is mended.
pub(super) fn holds(root: &Node, findings: &[Finding], error: &FieldError) -> bool {
    let field = error.field.as_str();
    let caused = findings.iter().any(|finding| {
        let bad = finding.field.as_str();
        within(bad, field)
            || within(field, bad)
            // An item that was left out moves those behind it up.
            || item_of(bad).is_some_and(|list| within(field, list))
            // What is missing may be there under another name.
            || (finding.unknown && !has(root, field) && parent(bad) == parent(field))
            // What tells two items apart may be what was left out.
            || (error.reason == Reason::Duplicate && list_of(bad) == list_of(field))
    });
    !caused
}

/// Whether `field` is `other` or below it.
fn within(field: &str, other: &str) -> bool {
    let rest = field.strip_prefix(other);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The list that the field is an item of.
fn item_of(field: &str) -> Option<&str> {
    field.strip_suffix(']').and_then(|field| field.rsplit_once('[')).map(|(list, _)| list)
}

/// What the field is directly in.
fn parent(field: &str) -> &str {
    field.rfind(['.', '[']).and_then(|at| field.get(..at)).unwrap_or_default()
}

/// The outermost list that the field is in.
fn list_of(field: &str) -> Option<&str> {
    field.split_once('[').map(|(list, _)| list)
}
