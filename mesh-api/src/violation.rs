//! What is wrong with an object, said completely: every violation with its field's path.

use std::fmt;

use crate::model::ObjectRef;

/// Which rule an object breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The value is malformed or out of range.
    Invalid,
    /// The field is defined, but this version does not act on it.
    NotSupported,
    /// The same thing is said twice in one request or object.
    Duplicate,
    /// Something the object names does not exist.
    MissingReference,
    /// Another stored object holds what this one claims.
    Conflict,
    /// `resourceVersion` is not the stored one.
    Stale,
}

impl Reason {
    /// Whether the request collides with what is stored, instead of being wrong by itself.
    #[must_use]
    pub const fn is_conflict(self) -> bool {
        matches!(self, Self::Conflict | Self::Stale)
    }
}

/// One broken rule of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which object; `None` where it could not even be named.
    pub object: Option<ObjectRef>,
    /// Position of the object in the request, from 0.
    pub index: usize,
    /// Path of the field, as in `spec.ports[0].port`.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
    /// Which rule.
    pub reason: Reason,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.object {
            Some(object) => write!(f, "{object}: {}: {}", self.field, self.message),
            None => write!(f, "object {}: {}: {}", self.index, self.field, self.message),
        }
    }
}

/// What a person should know of an object that is stored all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Which object; `None` for a last one that sums up those that are left out.
    pub object: Option<ObjectRef>,
    /// Position of the object in the request, from 0.
    pub index: usize,
    /// Path of the field, as in `spec.vips[1]`; empty where there is no object.
    pub field: String,
    /// What does not work, and until when.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.object {
            Some(object) => write!(f, "{object}: {}: {}", self.field, self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// A violation before it is known which object of which request it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct FieldError {
    /// Path of the field, as in `spec.ports[0].port`.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
    /// Which rule.
    pub reason: Reason,
}

impl FieldError {
    /// Names the object, and its place in the request, that breaks the rule.
    #[must_use]
    pub fn of(self, index: usize, object: Option<ObjectRef>) -> Violation {
        let Self { field, message, reason } = self;
        Violation { object, index, field, message, reason }
    }
}

/// Collects violations; paths are built by the caller with [`Fields::at`].
#[derive(Debug, Default)]
pub struct Fields {
    found: Vec<FieldError>,
}

impl Fields {
    /// Records one violation.
    pub fn push(&mut self, reason: Reason, field: impl Into<String>, message: impl Into<String>) {
        self.found.push(FieldError { field: field.into(), message: message.into(), reason });
    }

    /// Records a malformed value.
    pub fn invalid(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.push(Reason::Invalid, field, message);
    }

    /// Records a field that is defined but not acted on; `message` says why, and what is.
    pub fn unsupported(&mut self, field: impl Into<String>, present: bool, message: &str) {
        if present {
            self.push(Reason::NotSupported, field, message);
        }
    }

    /// Keeps `Ok`, records `Err` at `field`.
    pub fn check<T, E: fmt::Display>(&mut self, field: &str, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.invalid(field, error.to_string());
                None
            }
        }
    }

    /// Everything recorded so far.
    #[must_use]
    pub fn into_errors(self) -> Vec<FieldError> {
        self.found
    }

    /// `value`, unless anything was recorded.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Vec<FieldError>> {
        match value {
            Some(value) if self.found.is_empty() => Ok(value),
            _ => Err(self.found),
        }
    }
}
