//! An object together with the place in a file that it was read from.

use std::sync::Arc;

use super::problem::Problem;
use super::tree::{Node, Position, Value};
use crate::model::ObjectRef;
use crate::violation::Violation;
use crate::wire;

/// An object that keeps all rules of its kind, and where each of its fields is written.
#[derive(Debug)]
pub struct Located {
    pub(super) file: Arc<str>,
    pub(super) root: Node,
    pub(super) object: wire::Object,
    pub(super) reference: ObjectRef,
}

impl Located {
    /// The file, as the caller of [`super::parse`] named it.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Kind and name.
    #[must_use]
    pub const fn reference(&self) -> &ObjectRef {
        &self.reference
    }

    /// The object as written, defaults not filled in.
    #[must_use]
    pub const fn object(&self) -> &wire::Object {
        &self.object
    }

    /// The object without its place.
    #[must_use]
    pub fn into_object(self) -> wire::Object {
        self.object
    }

    /// Line of a field, from 1. A field that is not in the manifest has the line of what is
    /// nearest above it.
    #[must_use]
    pub fn line(&self, field: &str) -> usize {
        locate(&self.root, field).line
    }

    /// Says that a field of this object is wrong.
    #[must_use]
    pub fn problem(&self, field: &str, message: impl Into<String>) -> Problem {
        problem(&self.file, &self.root, Some(self.reference.to_string()), field, message)
    }

    /// Where a violation that the control plane found is written. Of which object it is, the
    /// violation's `index` says.
    #[must_use]
    pub fn violation(&self, violation: &Violation) -> Problem {
        self.problem(&violation.field, violation.message.clone())
    }
}

pub(super) fn problem(
    file: &str,
    root: &Node,
    object: Option<String>,
    field: &str,
    message: impl Into<String>,
) -> Problem {
    let Position { line, column } = locate(root, field);
    Problem {
        file: file.to_owned(),
        line,
        column,
        object,
        field: field.to_owned(),
        message: message.into(),
    }
}

/// Where the longest prefix of `field` that exists is: the key of a list or mapping, the value
/// of anything else.
pub(super) fn locate(root: &Node, field: &str) -> Position {
    walk(root, field).0
}

/// Whether the manifest has this very field.
pub(super) fn has(root: &Node, field: &str) -> bool {
    walk(root, field).1.is_empty()
}

/// Where the longest prefix of `field` that exists is, and the rest.
fn walk<'f>(root: &Node, field: &'f str) -> (Position, &'f str) {
    let mut at = root.at;
    let mut node = root;
    let mut rest = field;
    while let Some((position, child, after)) = step(node, rest) {
        at = position;
        node = child;
        rest = after;
    }
    (at, rest)
}

/// Takes one step of a path like `spec.ports[0].port`. Keys may hold dots themselves, as those
/// of labels do, so the longest key that fits is taken.
fn step<'t, 'f>(node: &'t Node, field: &'f str) -> Option<(Position, &'t Node, &'f str)> {
    match &node.value {
        Value::Map(entries) => {
            // The first key has no dot before it.
            let rest = field.strip_prefix('.').unwrap_or(field);
            let fits = |key: &str| {
                let after = rest.strip_prefix(key)?;
                (after.is_empty() || after.starts_with(['.', '['])).then_some(after)
            };
            let (entry, after) = entries
                .iter()
                .filter_map(|entry| Some((entry, fits(&entry.key)?)))
                .max_by_key(|(entry, _)| entry.key.len())?;
            let at = match entry.node.value {
                Value::List(_) | Value::Map(_) | Value::Null => entry.at,
                Value::Bool(_)
                | Value::Unsigned(_)
                | Value::Signed(_)
                | Value::Float(_)
                | Value::Text(_) => entry.node.at,
            };
            Some((at, &entry.node, after))
        }
        Value::List(items) => {
            let (index, after) = field.strip_prefix('[')?.split_once(']')?;
            let item = items.get(index.parse::<usize>().ok()?)?;
            Some((item.at, item, after))
        }
        Value::Null
        | Value::Bool(_)
        | Value::Unsigned(_)
        | Value::Signed(_)
        | Value::Float(_)
        | Value::Text(_) => None,
    }
}
