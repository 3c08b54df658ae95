//! A serde deserializer over the tree that finds every problem, each with its path.
//!
//! serde stops at the first error. So a node that fails is noted and the whole is read again
//! without it, until nothing fails: what is read may lack any field, so leaving one out is safe.

mod reader;

use std::cell::RefCell;
use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, Expected, Unexpected};

use super::problem;
use super::tree::{Entry, Node, Position, Value};

/// What was found at a node.
#[derive(Debug)]
pub(in crate::manifest) struct Finding {
    pub(in crate::manifest) at: Position,
    pub(in crate::manifest) field: String,
    pub(in crate::manifest) message: String,
    /// Whether it is a field that there is not.
    pub(in crate::manifest) unknown: bool,
}

/// Reads `node`, which the manifest has at `field`: what can be read of it, and all that is wrong
/// with the rest, up to about `limit` findings.
pub(in crate::manifest) fn read<T: DeserializeOwned>(
    node: &Node,
    field: &'static str,
    limit: usize,
) -> (Option<T>, Vec<Finding>) {
    let notes = Notes { limit, findings: RefCell::default(), bad: RefCell::default() };
    let path = Path { parent: None, step: Step::Key(field) };
    let reader = Reader { node, path: &path, notes: &notes };
    let value = loop {
        match T::deserialize(reader) {
            Ok(value) => break Some(value),
            Err(error) if !error.noted => {
                reader.note(error.message);
                break None;
            }
            Err(_) if notes.is_full() => break None,
            // What failed is left out of the next round.
            Err(_) => {}
        }
    };
    (value, notes.findings.into_inner())
}

/// A value of the manifest as an error message shows it.
pub(crate) fn shorten(text: &str) -> String {
    problem::shorten(text, 60)
}

/// Findings so far, and the nodes that are left out for them.
struct Notes<'t> {
    limit: usize,
    findings: RefCell<Vec<Finding>>,
    bad: RefCell<Vec<&'t Node>>,
}

impl Notes<'_> {
    fn is_full(&self) -> bool {
        self.findings.borrow().len() >= self.limit
    }

    fn is_bad(&self, node: &Node) -> bool {
        self.bad.borrow().iter().any(|bad| std::ptr::eq(*bad, node))
    }
}

enum Step<'p> {
    Key(&'p str),
    Index(usize),
}

/// The way from the root, kept on the stack and written out only when something is wrong.
struct Path<'p> {
    parent: Option<&'p Self>,
    step: Step<'p>,
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Key(key) if self.parent.is_none() => f.write_str(key),
            Step::Key(key) => write!(f, ".{}", shorten(key)),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

#[derive(Clone, Copy)]
struct Reader<'t, 'p> {
    node: &'t Node,
    path: &'p Path<'p>,
    notes: &'p Notes<'t>,
}

impl<'t> Reader<'t, '_> {
    /// Notes what is wrong with this node, which is left out from now on.
    fn note(&self, message: String) {
        self.note_at(self.node.at, message, false);
    }

    fn note_at(&self, at: Position, message: String, unknown: bool) {
        self.notes.bad.borrow_mut().push(self.node);
        self.notes.findings.borrow_mut().push(Finding {
            at,
            field: self.path.to_string(),
            message,
            unknown,
        });
    }

    /// Does `act` with the reader of a node below this one.
    fn below<R>(&self, node: &'t Node, step: Step<'_>, act: impl FnOnce(Reader<'t, '_>) -> R) -> R {
        act(Reader { node, path: &Path { parent: Some(self.path), step }, notes: self.notes })
    }

    /// Reads what is below, and notes its error unless something deeper has.
    fn read_below<'de, S: DeserializeSeed<'de>>(
        &self,
        node: &'t Node,
        step: Step<'_>,
        seed: S,
    ) -> Result<S::Value, Error> {
        self.below(node, step, |reader| {
            seed.deserialize(reader).map_err(|error| {
                if !error.noted {
                    reader.note(error.message);
                }
                Error { message: String::new(), noted: true }
            })
        })
    }

    fn expected(&self, what: &dyn Expected) -> Error {
        let found = &self.node.value;
        de::Error::custom(format!("expected {what}, found {found}"))
    }

    /// The entries that a struct of these fields has; the others are noted. A value left empty
    /// is a value left out.
    fn known(&self, entries: &'t [Entry], fields: &'static [&'static str]) -> Vec<&'t Entry> {
        let known = |entry: &&Entry| fields.contains(&entry.key.as_str());
        for entry in entries.iter().filter(|entry| !known(entry)) {
            if !self.notes.is_full() && !self.notes.is_bad(&entry.node) {
                self.below(&entry.node, Step::Key(&entry.key), |reader| {
                    reader.note_at(entry.at, unknown_field(&entry.key, fields), true);
                });
            }
        }
        entries
            .iter()
            .filter(known)
            .filter(|entry| !matches!(entry.node.value, Value::Null))
            .collect()
    }
}

/// Says which field may have been meant.
pub(in crate::manifest) fn unknown_field(key: &str, fields: &[&str]) -> String {
    let lower = key.to_lowercase();
    let near = fields
        .iter()
        .map(|field| (strsim::jaro_winkler(&lower, &field.to_lowercase()), field))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    match near {
        Some((_, field)) => format!("unknown field: did you mean {field:?}?"),
        None if fields.is_empty() => "unknown field: there are none here".to_owned(),
        None => format!("unknown field: there are {}", fields.join(", ")),
    }
}

#[derive(Debug)]
struct Error {
    message: String,
    /// Whether it is among the findings already.
    noted: bool,
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { message: message.to_string(), noted: false }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format!("expected {expected}, found {found}"))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format!("expected {expected}, found {found}"))
    }

    fn unknown_variant(found: &str, expected: &'static [&'static str]) -> Self {
        let found = shorten(found);
        Self::custom(format!("{found:?} is not one of {}", expected.join(", ")))
    }
}
