//! The YAML parser, and the only module that uses the YAML library.
//!
//! Scalars keep their spelling, so that `16.10` can be a string, and every value keeps its line and
//! column. Anchors and merge keys are supported up to limits that stop alias bombs.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, MessageFormatter, Options, Spanned, UserMessageFormatter};

use crate::Origin;
use crate::node::{Entry, Node, Value};
use crate::scalar::{Inferred, Scalar, infer};

/// The maximum depth of maps and lists, which bounds the recursion; settings need five levels.
const MAX_DEPTH: usize = 32;
/// The maximum number of values in a file after alias expansion.
const MAX_NODES: usize = 100_000;

/// A YAML syntax error.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SyntaxError {
    /// Line and column from 1; both 1 if the parser does not report them.
    pub(crate) line: u64,
    pub(crate) column: u64,
    pub(crate) message: String,
}

/// Parses one document; `None` if it is empty.
pub(crate) fn parse(text: &str, path: &Arc<Path>) -> Result<Option<Node>, SyntaxError> {
    let shape: Option<Spanned<Shape>> = serde_saphyr::from_str_with_options(text, options())
        .map_err(|error| syntax(&error).with_hint(text))?;
    let place = |at: &Location| Origin::File {
        path: Arc::clone(path),
        line: at.line().max(1),
        column: at.column().max(1),
    };
    Ok(shape.map(|shape| Converter { text, place }.node(shape)))
}

/// Parses a value that is not in a file, such as `[registry, dns]` in a variable.
pub(crate) fn parse_value(text: &str, origin: &Origin) -> Result<Option<Node>, SyntaxError> {
    let shape: Option<Spanned<Shape>> =
        serde_saphyr::from_str_with_options(text, options()).map_err(|error| syntax(&error))?;
    let place = |_: &Location| origin.clone();
    Ok(shape.map(|shape| Converter { text, place }.node(shape)))
}

// === impl SyntaxError ===

impl SyntaxError {
    /// Adds what is the usual cause if a plain text in the line has a brace, as in `{command: serve {port}}`.
    fn with_hint(mut self, text: &str) -> Self {
        let line = usize::try_from(self.line - 1).ok().and_then(|line| text.lines().nth(line));
        if line.is_some_and(has_brace_in_plain_text) {
            self.message +=
                "; a text with braces needs quotation marks in a map or list in braces or brackets";
        }
        self
    }
}

fn has_brace_in_plain_text(line: &str) -> bool {
    line.match_indices('{').any(|(at, _)| {
        let before = line[..at].trim_end().chars().next_back();
        before.is_some_and(|before| !":,[{-".contains(before))
    })
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 4 * MAX_NODES,
            max_total_scalar_bytes: 8 * crate::MAX_FILE_SIZE as usize,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_NODES,
            max_replay_stack_depth: MAX_DEPTH,
        },
        strict_booleans: true,
        underscored_numbers_as_strings: true,
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    }
}

fn syntax(error: &serde_saphyr::Error) -> SyntaxError {
    use serde_saphyr::Error;
    let message = match error.without_snippet() {
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("duplicate key `{key}`")
        }
        Error::DuplicateMappingKey { key: None, .. } => "duplicate key".to_owned(),
        Error::MultipleDocuments { .. } => "expected one document, found a second one".to_owned(),
        other => UserMessageFormatter.format_message(other).into_owned(),
    };
    let location = error.location().unwrap_or(Location::UNKNOWN);
    SyntaxError { line: location.line().max(1), column: location.column().max(1), message }
}

/// A value as the library returns it, before its origin is known.
enum Shape {
    /// A string, quoted or not.
    Text(String),
    /// Another plain scalar, as the library has parsed it.
    Plain(String),
    List(Vec<Spanned<Shape>>),
    Map(Vec<(Spanned<String>, Spanned<Shape>)>),
}

/// Converts shapes into nodes.
struct Converter<'a, F> {
    text: &'a str,
    place: F,
}

// === impl Converter ===

impl<F: Fn(&Location) -> Origin> Converter<'_, F> {
    fn node(&self, shape: Spanned<Shape>) -> Node {
        let origin = (self.place)(&shape.referenced);
        let value = match shape.value {
            Shape::Text(text) => Value::Scalar(Scalar::Text(text)),
            Shape::Plain(read) => Value::Scalar(Scalar::Plain(self.spelling(&shape.defined, read))),
            Shape::List(items) => {
                Value::List(items.into_iter().map(|item| self.node(item)).collect())
            }
            Shape::Map(entries) => {
                Value::Map(entries.into_iter().map(|(key, value)| self.entry(key, value)).collect())
            }
        };
        Node::new(origin, value)
    }

    fn entry(&self, key: Spanned<String>, value: Spanned<Shape>) -> Entry {
        let key_origin = (self.place)(&key.referenced);
        Entry { key: key.value, key_origin, node: self.node(value) }
    }

    /// Returns the scalar in its original spelling, so that `16.10` does not become `16.1`.
    fn spelling(&self, at: &Location, read: String) -> String {
        let span = at.span();
        let written = span.byte_offset().zip(span.byte_len()).and_then(|(start, length)| {
            let start = usize::try_from(start).ok()?;
            self.text.get(start..start.checked_add(usize::try_from(length).ok()?)?)
        });
        match written.map(str::trim) {
            Some(written) if !matches!(infer(written), Inferred::Text(_)) => written.to_owned(),
            _ => read,
        }
    }
}

// === impl Shape ===

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(ShapeVisitor)
    }
}

struct ShapeVisitor;

/// Implements the visitor methods of scalars other than strings.
macro_rules! visit_plain {
    ($($method:ident: $type:ty),+ $(,)?) => {$(
        fn $method<E>(self, value: $type) -> Result<Shape, E> {
            Ok(Shape::Plain(value.to_string()))
        }
    )+};
}

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a number, a boolean, a list or a map")
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Plain(String::new()))
    }

    visit_plain! {
        visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_i128: i128, visit_u128: u128,
        visit_f64: f64,
    }

    fn visit_str<E>(self, text: &str) -> Result<Shape, E> {
        Ok(Shape::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Shape::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
        let mut entries: Vec<(Spanned<String>, Spanned<Shape>)> = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            if key.value.is_empty() {
                return Err(A::Error::custom("expected a key, found an empty one"));
            }
            entries.push((key, map.next_value()?));
        }
        Ok(Shape::Map(entries))
    }
}

#[cfg(test)]
mod tests;
