//! An object of which parts could not be read is checked all the same, so that a wrong type does
//! not hide a wrong value. Here is decided which of the violations found then are real, and which
//! only come from what was left out.

use super::de::Finding;
use super::located::has;
use super::tree::Node;
use crate::violation::{FieldError, Reason};

/// Fields whose value must fit that of another one, which has a default.
const COMPARED: &[(&str, &str)] = &[
    ("spec.healthCheck.timeout", "spec.healthCheck.interval"),
    ("spec.outlierDetection.maxEjectionTime", "spec.outlierDetection.baseEjectionTime"),
];

/// Whether a violation is one also when everything in `findings` is mended.
pub(super) fn holds(root: &Node, findings: &[Finding], error: &FieldError) -> bool {
    let own = error.field.as_str();
    let other = COMPARED.iter().find(|(field, _)| *field == own).map(|(_, other)| *other);
    let caused = findings.iter().any(|finding| {
        let by = |field| causes(root, finding, error.reason, field);
        by(own) || other.is_some_and(by)
    });
    !caused
}

/// Whether what is said of `field` may come from leaving out what was found.
fn causes(root: &Node, finding: &Finding, reason: Reason, field: &str) -> bool {
    let bad = finding.field.as_str();
    // What is not supported at all is not mended below.
    (within(bad, field) && reason != Reason::NotSupported)
        || within(field, bad)
        // An item that was left out moves those behind it up.
        || item_of(bad).is_some_and(|list| within(field, list))
        // What is missing may be there under another name.
        || (finding.unknown && !has(root, field) && parent(bad) == parent(field))
        // What tells two items apart may be what was left out.
        || (reason == Reason::Duplicate && list_of(bad) == list_of(field))
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
