//! The tree as serde sees it.

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, Expected, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::{Error, Reader, Step};
use crate::manifest::tree::{Entry, Node, Value};

impl<'de> Deserializer<'de> for Reader<'_, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Unsigned(value) => visitor.visit_u64(*value),
            Value::Signed(value) => visitor.visit_i64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(text) => visitor.visit_str(text),
            Value::List(_) => self.deserialize_seq(visitor),
            Value::Map(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if let Value::Bool(value) = &self.node.value {
            visitor.visit_bool(*value)
        } else {
            Err(self.expected(&"true or false"))
        }
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if let Value::Unsigned(value) = &self.node.value
            && *value <= u32::MAX.into()
        {
            visitor.visit_u64(*value)
        } else if self.node.text().is_some_and(|text| text.parse::<u32>().is_ok()) {
            Err(self.expected(&"a number without quotes"))
        } else {
            Err(self.expected(&"a whole number from 0 to 4294967295"))
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        // Only `resourceVersion` is one; Kubernetes writes it as text.
        if let Value::Unsigned(value) = &self.node.value {
            visitor.visit_u64(*value)
        } else if let Some(value) = self.node.text().and_then(|text| text.parse().ok()) {
            visitor.visit_u64(value)
        } else {
            Err(self.expected(&"a whole number from 0"))
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node.text() {
            Some(text) => visitor.visit_str(text),
            None => Err(self.expected(&visitor as &dyn Expected)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Text(text) => visitor.visit_str(text),
            Value::Bool(_) | Value::Unsigned(_) | Value::Signed(_) | Value::Float(_) => {
                Err(self.expected(&"text (put it in quotes)"))
            }
            Value::Null | Value::List(_) | Value::Map(_) => Err(self.expected(&"text")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if matches!(self.node.value, Value::Null) {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if let Value::List(items) = &self.node.value {
            visitor.visit_seq(Items { reader: self, rest: items.iter().enumerate() })
        } else {
            Err(self.expected(&"a list"))
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if let Value::Map(entries) = &self.node.value {
            visitor.visit_map(Entries {
                reader: self,
                rest: entries.iter().collect::<Vec<_>>().into_iter(),
                value: None,
            })
        } else {
            Err(self.expected(&"a mapping"))
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if let Value::Map(entries) = &self.node.value {
            visitor.visit_map(Entries {
                reader: self,
                rest: self.known(entries, fields).into_iter(),
                value: None,
            })
        } else if fields.is_empty() {
            Err(self.expected(&"{}"))
        } else {
            let fields = format!("a mapping with {}", fields.join(", "));
            Err(self.expected(&fields.as_str()))
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u128 f32 f64 char bytes byte_buf unit unit_struct
        newtype_struct tuple tuple_struct enum identifier ignored_any
    }
}

struct Items<'t, 'p> {
    reader: Reader<'t, 'p>,
    rest: std::iter::Enumerate<std::slice::Iter<'t, Node>>,
}

impl<'de> SeqAccess<'de> for Items<'_, '_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        let notes = self.reader.notes;
        let Some((index, node)) = self.rest.find(|(_, node)| !notes.is_bad(node)) else {
            return Ok(None);
        };
        self.reader.read_below(node, Step::Index(index), seed).map(Some)
    }
}

struct Entries<'t, 'p> {
    reader: Reader<'t, 'p>,
    rest: std::vec::IntoIter<&'t Entry>,
    value: Option<&'t Entry>,
}

impl<'de> MapAccess<'de> for Entries<'_, '_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        let notes = self.reader.notes;
        self.value = self.rest.find(|entry| !notes.is_bad(&entry.node));
        let Some(entry) = self.value else {
            return Ok(None);
        };
        seed.deserialize(StrDeserializer::new(&entry.key)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        match self.value.take() {
            Some(entry) => self.reader.read_below(&entry.node, Step::Key(&entry.key), seed),
            None => Err(de::Error::custom("a value was asked for before its key")),
        }
    }
}
