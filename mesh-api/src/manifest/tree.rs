//! A YAML document as a tree in which every node knows its position. Budgets stop hostile
//! input (alias bombs, deep nesting) before it costs memory or stack.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};
use serde_saphyr::{Error, MessageFormatter as _, Spanned, UserMessageFormatter};

use super::problem::Problem;

/// Line and column, from 1, in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// A value and where it is.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a mapping and its value.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: Position,
    pub(super) node: Node,
}

impl Node {
    /// The entry of a mapping.
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        if let Value::Map(entries) = &self.value {
            entries.iter().find(|entry| entry.key == key)
        } else {
            None
        }
    }

    /// The text of a text.
    pub(super) const fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text.as_str()) } else { None }
    }
}

impl fmt::Display for Value {
    /// How an error message names the value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("nothing"),
            Self::Bool(value) => write!(f, "the boolean {value}"),
            Self::Unsigned(value) => write!(f, "the number {value}"),
            Self::Signed(value) => write!(f, "the number {value}"),
            Self::Float(value) => write!(f, "the number {value:?}"),
            Self::Text(text) => write!(f, "the text {:?}", super::de::shorten(text)),
            Self::List(_) => f.write_str("a list"),
            Self::Map(_) => f.write_str("a mapping"),
        }
    }
}

/// Reads all documents of a file; empty ones are left out.
pub(super) fn load(file: &str, text: &str) -> Result<Vec<Node>, Problem> {
    let options = serde_saphyr::options! {
        // The defaults that are not repeated here are for input beyond MAX_BYTES.
        budget: serde_saphyr::budget! {
            max_aliases: 1000,
            max_anchors: 1000,
            max_depth: 24,
            flow_nesting_limit: 24,
            max_documents: 50_000,
            max_events: 4_000_000,
            max_nodes: 1_500_000,
            max_merge_keys: 1000,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 50_000,
            max_replay_stack_depth: 8,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Merge,
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let error = error.without_snippet();
        let location = error.location();
        let place = |number: u64| usize::try_from(number).unwrap_or_default();
        Problem {
            line: location.map_or(0, |location| place(location.line())),
            column: location.map_or(0, |location| place(location.column())),
            ..Problem::in_file(file, explain(error))
        }
    })
}

fn explain(mut error: &Error) -> String {
    while let Error::AliasError { error: inner, .. } = error {
        error = inner;
    }
    let said = UserMessageFormatter.format_message(error);
    if let Error::AliasReplayLimitExceeded { .. }
    | Error::AliasExpansionLimitExceeded { .. }
    | Error::AliasReplayStackDepthExceeded { .. } = error
    {
        return format!("the aliases stand for too much: write it out ({said})");
    }
    said.into_owned()
}

impl From<serde_saphyr::Location> for Position {
    fn from(location: serde_saphyr::Location) -> Self {
        let place = |number: u64| usize::try_from(number).unwrap_or_default();
        Self { line: place(location.line()), column: place(location.column()) }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // `defined`, not `referenced`: behind an alias, the line that has to be mended.
        let Spanned { value, defined, .. } = Spanned::<Value>::deserialize(from)?;
        Ok(Self { at: defined.into(), value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(u64::try_from(value).map_or(Value::Signed(value), Value::Unsigned))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            map.push(Entry { at: key.defined.into(), key: key.value, node: entries.next_value()? });
        }
        Ok(Value::Map(map))
    }
}
