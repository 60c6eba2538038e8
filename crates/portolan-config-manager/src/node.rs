//! The tree of untyped values, each with its origin.

use crate::Origin;
use crate::scalar::Scalar;

/// A value with its origin.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) origin: Origin,
    pub(crate) value: Value,
}

/// A value of any kind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_origin: Origin,
    pub(crate) node: Node,
}

// === impl Node ===

impl Node {
    pub(crate) fn new(origin: Origin, value: Value) -> Self {
        Self { origin, value }
    }

    pub(crate) fn scalar(origin: Origin, scalar: Scalar) -> Self {
        Self::new(origin, Value::Scalar(scalar))
    }

    /// Converts the serialized defaults.
    pub(crate) fn from_defaults(json: &serde_json::Value) -> Self {
        Self::from_json(json, &Origin::Default)
    }

    /// Converts a JSON value whose every part has this origin.
    pub(crate) fn from_json(json: &serde_json::Value, origin: &Origin) -> Self {
        use serde_json::Value as Json;
        let value = match json {
            Json::Null => Value::Scalar(Scalar::Plain(String::new())),
            Json::Bool(_) | Json::Number(_) => Value::Scalar(Scalar::Plain(json.to_string())),
            Json::String(text) => Value::Scalar(Scalar::Text(text.clone())),
            Json::Array(items) => {
                Value::List(items.iter().map(|item| Self::from_json(item, origin)).collect())
            }
            Json::Object(map) => Value::Map(
                map.iter()
                    .map(|(key, value)| Entry {
                        key: key.clone(),
                        key_origin: origin.clone(),
                        node: Self::from_json(value, origin),
                    })
                    .collect(),
            ),
        };
        Self::new(origin.clone(), value)
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.is_null())
    }

    /// Merges a stronger layer into this one: maps are merged by key, other values are replaced.
    pub(crate) fn overlay(&mut self, stronger: Node) {
        let Value::Map(entries) = &mut self.value else {
            *self = stronger;
            return;
        };
        match stronger.value {
            Value::Map(over) => over.into_iter().for_each(|entry| insert(entries, entry)),
            // A section with every line commented out changes nothing.
            Value::Scalar(Scalar::Plain(text)) if text.is_empty() => {}
            other => *self = Node::new(stronger.origin, other),
        }
    }
}

// === impl Entry ===

impl Entry {
    /// Returns the key as a value.
    pub(crate) fn key_node(&self) -> Node {
        Node::scalar(self.key_origin.clone(), Scalar::Given(self.key.clone()))
    }
}

fn insert(entries: &mut Vec<Entry>, entry: Entry) {
    match entries.iter_mut().find(|known| known.key == entry.key) {
        Some(known) => {
            known.key_origin = entry.key_origin;
            known.node.overlay(entry.node);
        }
        None => entries.push(entry),
    }
}
