//! What is wrong with a manifest, and where.

use std::fmt;

/// One thing that is wrong, at one place of one file.
///
/// Shown as `file.yaml:12: Service default/reviews: spec.ports[0].port: what is wrong`, without
/// the parts that are not known; where YAML itself is malformed, with the column as well.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    /// The file, as the caller named it.
    pub file: String,
    /// Line, from 1; 0 where the whole file is meant.
    pub line: usize,
    /// Column in characters, from 1; 0 where the whole line is meant.
    pub column: usize,
    /// The object, as in `Service default/reviews`.
    pub object: Option<String>,
    /// Path of the field, as in `spec.ports[0].port`; empty where the whole object is meant.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Problem {
    /// A problem of a whole file.
    #[must_use]
    pub fn in_file(file: &str, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), message: message.into(), ..Self::default() }
    }

    pub(super) const fn at_line(mut self, line: usize) -> Self {
        self.line = line;
        self
    }
}

/// Longest field path shown, in characters.
const MAX_FIELD: usize = 200;

/// Hostile input does not get to fill the error message.
pub(super) fn shorten(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars().take(limit).chain(['…']).collect()
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.file.clone();
        if self.line > 0 {
            text = format!("{text}:{}", self.line);
            if self.field.is_empty() && self.object.is_none() && self.column > 0 {
                text = format!("{text}:{}", self.column);
            }
        }
        if let Some(object) = &self.object {
            text = format!("{text}: {object}");
        }
        if !self.field.is_empty() {
            text = format!("{text}: {}", shorten(&self.field, MAX_FIELD));
        }
        text = format!("{text}: {}", self.message);
        // Keys and names come from the file: no control character gets to a terminal.
        for c in text.chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}

/// Everything that is wrong, one line each.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Problems {
    found: Vec<Problem>,
    omitted: bool,
}

impl Problems {
    /// How many.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.found.len()
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// In the order of the files and lines.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.found.iter()
    }

    /// Adds all of `more`.
    pub fn extend(&mut self, more: Self) {
        self.found.extend(more.found);
        self.omitted |= more.omitted;
    }

    /// Adds one.
    pub fn push(&mut self, problem: Problem) {
        self.found.push(problem);
    }

    /// `value`, if nothing is wrong.
    pub fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }

    /// In the order of the lines, the first `limit`; says where there were more.
    pub(super) fn tidy(&mut self, limit: usize) {
        self.found.sort_by_key(|problem| (problem.line, problem.column));
        if self.found.len() > limit {
            self.found.truncate(limit);
            self.omitted = true;
        }
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        vec![problem].into()
    }
}

impl From<Vec<Problem>> for Problems {
    fn from(found: Vec<Problem>) -> Self {
        Self { found, omitted: false }
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.found.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(f, "{end}{problem}")?;
        }
        if self.omitted {
            write!(f, "\n… and more: mend these first")?;
        }
        Ok(())
    }
}
