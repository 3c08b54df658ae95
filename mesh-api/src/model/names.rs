//! Names and ports, checked on construction.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;
use std::sync::Arc;

/// Longest name, in bytes (RFC 1123 label, as in Kubernetes).
const MAX_NAME: usize = 63;
/// Longest free-form label (version, node, workload, region, zone), in bytes.
const MAX_LABEL: usize = 253;

/// Why a text is not a [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there.
    #[error("required: a name of 1 to {MAX_NAME} characters")]
    Empty,
    /// Over the limit.
    #[error("{length} characters long: at most {limit} are allowed")]
    TooLong {
        /// Length found, in bytes.
        length: usize,
        /// Longest allowed, in bytes.
        limit: usize,
    },
    /// A character that names do not have.
    #[error(
        "{character:?} at position {position} is not allowed: use lower-case letters, digits and \
         '-', beginning and ending with a letter or digit"
    )]
    Character {
        /// The character.
        character: char,
        /// Its place, from 0.
        position: usize,
    },
    /// A character that labels do not have.
    #[error("{character:?} at position {position} is not allowed: use printable ASCII, no spaces")]
    Unprintable {
        /// The character.
        character: char,
        /// Its place, from 0.
        position: usize,
    },
}

/// An RFC 1123 label: 1 to 63 of `[a-z0-9-]`, neither beginning nor ending with `-`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > MAX_NAME {
            return Err(NameError::TooLong { length: text.len(), limit: MAX_NAME });
        }
        let last = text.len() - 1;
        for (position, character) in text.char_indices() {
            let inside = position != 0 && position != last;
            let allowed = character.is_ascii_lowercase()
                || character.is_ascii_digit()
                || (character == '-' && inside);
            if !allowed {
                return Err(NameError::Character { character, position });
            }
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// Free-form text that ends up in metrics and tables: 1 to 253 printable ASCII characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(Arc<str>);

impl Label {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Label {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > MAX_LABEL {
            return Err(NameError::TooLong { length: text.len(), limit: MAX_LABEL });
        }
        match text.char_indices().find(|(_, c)| !c.is_ascii_graphic()) {
            Some((position, character)) => Err(NameError::Unprintable { character, position }),
            None => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// Namespace and name, written `namespace/name`; also the xDS resource name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// The namespace.
    pub namespace: Name,
    /// The name within it.
    pub name: Name,
}

impl ObjectName {
    /// Another object of the same namespace.
    #[must_use]
    pub fn sibling(&self, name: Name) -> Self {
        Self { namespace: self.namespace.clone(), name }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Why a text is not an [`ObjectName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectNameError {
    /// No slash, or more than one part is missing.
    #[error("{text:?} is not of the form namespace/name")]
    Form {
        /// What was found.
        text: String,
    },
    /// A part is not a name.
    #[error("{part}: {source}")]
    Part {
        /// `namespace` or `name`.
        part: &'static str,
        /// What is wrong with it.
        #[source]
        source: NameError,
    },
}

impl FromStr for ObjectName {
    type Err = ObjectNameError;

    fn from_str(text: &str) -> Result<Self, ObjectNameError> {
        let (namespace, name) =
            text.split_once('/').ok_or_else(|| ObjectNameError::Form { text: text.to_owned() })?;
        let part = |part, text: &str| {
            text.parse::<Name>().map_err(|source| ObjectNameError::Part { part, source })
        };
        Ok(Self { namespace: part("namespace", namespace)?, name: part("name", name)? })
    }
}

/// Why a number is not a [`Port`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value} is not a port: use 1 to 65535")]
pub struct PortError {
    /// What was found.
    pub value: u32,
}

/// A TCP or UDP port, 1 to 65535, in host order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(NonZeroU16);

impl Port {
    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl TryFrom<u32> for Port {
    type Error = PortError;

    fn try_from(value: u32) -> Result<Self, PortError> {
        u16::try_from(value).ok().and_then(NonZeroU16::new).map(Self).ok_or(PortError { value })
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
