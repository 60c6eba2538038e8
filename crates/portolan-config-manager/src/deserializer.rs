//! The serde deserializer over a [`Node`]; every error has its place.

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::de_error::DeError;
use crate::error::Problem;
use crate::node::{Entry, Node, Value};
use crate::path::KeyPath;
use crate::scalar::Inferred;

/// Deserializes a tree; `path` is the path of its root.
pub(crate) fn read<T: DeserializeOwned>(node: &Node, path: &KeyPath) -> Result<T, Problem> {
    T::deserialize(node).map_err(|error| error.at(&node.origin).into_problem(path))
}

// === impl Deserializer for &Node ===

impl<'de> Deserializer<'de> for &Node {
    type Error = DeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        match &self.value {
            Value::Scalar(scalar) => visit_inferred(scalar.inferred(), visitor),
            Value::List(items) => visitor.visit_seq(Items { rest: items.iter(), index: 0 }),
            Value::Map(entries) => visitor.visit_map(Entries::new(entries)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        match &self.value {
            Value::Scalar(scalar) => match scalar.as_text() {
                Some(text) => visitor.visit_str(text),
                None => visitor.visit_unit(),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        if self.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeError> {
        match &self.value {
            Value::Scalar(scalar) => match scalar.as_text() {
                Some(text) => visitor.visit_enum(StrDeserializer::<DeError>::new(text)),
                None => Err(DeError::custom(format!(
                    "expected one of {}, found nothing",
                    variants.join(", ")
                ))),
            },
            Value::Map(entries) if entries.len() == 1 => {
                visitor.visit_enum(OneOf { entry: &entries[0] })
            }
            _ => Err(DeError::custom(format!(
                "expected a {name} with one of the keys {}",
                variants.join(", ")
            ))),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 bytes byte_buf unit unit_struct seq
        tuple tuple_struct map struct
    }
}

fn visit_inferred<'de, V: Visitor<'de>>(
    value: Inferred<'_>,
    visitor: V,
) -> Result<V::Value, DeError> {
    match value {
        Inferred::Null => visitor.visit_unit(),
        Inferred::Bool(value) => visitor.visit_bool(value),
        Inferred::Unsigned(value) => visitor.visit_u64(value),
        Inferred::Signed(value) => visitor.visit_i64(value),
        Inferred::Float(value) => visitor.visit_f64(value),
        Inferred::Text(text) => visitor.visit_str(text),
    }
}

// === lists ===

struct Items<'a> {
    rest: std::slice::Iter<'a, Node>,
    index: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = DeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, DeError> {
        let Some(node) = self.rest.next() else { return Ok(None) };
        let index = self.index;
        self.index += 1;
        let item = seed.deserialize(node);
        item.map(Some).map_err(|error| error.at(&node.origin).within(format!("[{index}]")))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

// === maps ===

struct Entries<'a> {
    rest: std::slice::Iter<'a, Entry>,
    current: Option<&'a Entry>,
}

impl<'a> Entries<'a> {
    fn new(entries: &'a [Entry]) -> Self {
        Self { rest: entries.iter(), current: None }
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = DeError;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, DeError> {
        self.current = self.rest.next();
        let Some(entry) = self.current else { return Ok(None) };
        seed.deserialize(&entry.key_node()).map(Some).map_err(|error| error.at(&entry.key_origin))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, DeError> {
        let Some(entry) = self.current.take() else {
            return Err(DeError::custom("a value was requested before its key"));
        };
        let value = seed.deserialize(&entry.node);
        value.map_err(|error| error.at(&entry.node.origin).within(&entry.key))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

// === enums ===

struct OneOf<'a> {
    entry: &'a Entry,
}

impl<'a, 'de> EnumAccess<'de> for OneOf<'a> {
    type Error = DeError;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), DeError> {
        let key = StrDeserializer::<DeError>::new(&self.entry.key);
        let variant = seed.deserialize(key).map_err(|error| error.at(&self.entry.key_origin))?;
        Ok((variant, self))
    }
}

impl OneOf<'_> {
    fn locate<T>(&self, result: Result<T, DeError>) -> Result<T, DeError> {
        result.map_err(|error| error.at(&self.entry.node.origin).within(&self.entry.key))
    }
}

impl<'de> VariantAccess<'de> for OneOf<'_> {
    type Error = DeError;

    fn unit_variant(self) -> Result<(), DeError> {
        if self.entry.node.is_null() {
            Ok(())
        } else {
            self.locate(Err(DeError::custom("expected no value")))
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, DeError> {
        self.locate(seed.deserialize(&self.entry.node))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, DeError> {
        self.locate(self.entry.node.deserialize_any(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeError> {
        self.locate(self.entry.node.deserialize_any(visitor))
    }
}

#[cfg(test)]
mod tests;
