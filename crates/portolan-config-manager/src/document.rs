//! The sections of a configuration file that are not settings.

use serde::de::DeserializeOwned;

use crate::error::{ConfigError, Problem};
use crate::interpolation::interpolate;
use crate::node::{Entry, Node, Value};
use crate::path::KeyPath;
use crate::{Origin, deserializer};

/// The prefix of keys that are ignored, as in Compose: `x-common: &common`.
const EXTENSION: &str = "x-";

/// The sections with the keys that [`crate::Loader::foreign`] names, unread.
#[derive(Debug, Clone, Default)]
pub struct Document {
    pub(crate) sections: Vec<(String, Node)>,
}

/// The entries of a section that could be read, by their keys, and what is wrong with the others.
#[derive(Debug)]
pub struct Entries<K, T> {
    /// The valid entries.
    pub valid: Vec<(K, T)>,
    /// A problem for each invalid key and value.
    pub problems: Vec<Problem>,
}

// === impl Document ===

impl Document {
    /// Reads one section; `None` if no file has it.
    ///
    /// # Errors
    /// The section cannot be read as a `T`; the error names file, line and column.
    pub fn section<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, ConfigError> {
        let Some(node) = self.node(key) else { return Ok(None) };
        let path = KeyPath::default().child(key);
        deserializer::read(node, &path).map(Some).map_err(ConfigError::one)
    }

    /// Reads a section entry by entry. An entry is ignored if it is invalid; all that is wrong with it is reported.
    pub fn entries<K, T>(&self, key: &str) -> Entries<K, T>
    where
        K: DeserializeOwned + PartialEq,
        T: DeserializeOwned,
    {
        let mut read = Entries { valid: Vec::new(), problems: Vec::new() };
        let Some(node) = self.node(key).filter(|node| !node.is_null()) else { return read };
        let path = KeyPath::default().child(key);
        if !matches!(node.value, Value::Map(_)) {
            let (message, origin) = ("expected a map of names".to_owned(), node.origin.clone());
            read.problems.push(Problem { origin, path: path.to_string(), message, remedy: None });
        }
        for entry in node.entries() {
            let below = path.child(&entry.key);
            let key = deserializer::read(&entry.key_node(), &below);
            let key = key.map_err(|problem| read.problems.push(problem));
            // Keys that are written differently can be equal, as names in upper and lower case.
            if key.as_ref().is_ok_and(|key| read.valid.iter().any(|(other, _)| other == key)) {
                let (path, origin) = (below.to_string(), entry.key_node().origin);
                let message =
                    "the same name is in the map already; upper and lower case do not differ"
                        .to_owned();
                read.problems.push(Problem { origin, path, message, remedy: None });
                continue;
            }
            let value = read_all(entry.node.clone(), &below, &mut read.problems);
            read.valid.extend(key.ok().zip(value));
        }
        read
    }

    /// Replaces the variables in the values of a section: `${NAME}`, `${NAME:-default}`, `${NAME:?message}`, `${NAME:+other}`,
    /// the same without the colon, and `$$` for a dollar sign. `lookup` returns the value of a variable. Returns a problem for
    /// each value in which a variable is not set and has no default; such a value stays as it is.
    pub fn interpolate(
        &mut self,
        key: &str,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Vec<Problem> {
        let path = KeyPath::default().child(key);
        let section = self.sections.iter_mut().find(|(name, _)| name == key);
        section.map(|(_, node)| interpolate(node, &path, lookup)).unwrap_or_default()
    }

    /// Returns the place of a key, such as `services.api.needs`, or of its nearest ancestor in the
    /// files.
    pub fn origin(&self, path: &str) -> Option<Origin> {
        let path = KeyPath::parse(path);
        let (top, below) = path.keys().split_first()?;
        let mut node = self.node(top)?;
        for key in below {
            let Some(deeper) = node.get(key) else { break };
            node = deeper;
        }
        Some(node.origin.clone())
    }

    /// Returns the problem of an invalid value in a section, with its place.
    pub fn problem(
        &self,
        path: &str,
        message: impl Into<String>,
        remedy: Option<String>,
    ) -> Problem {
        Problem {
            origin: self.origin(path).unwrap_or(Origin::Default),
            path: path.to_owned(),
            message: message.into(),
            remedy,
        }
    }

    fn node(&self, key: &str) -> Option<&Node> {
        self.sections.iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    /// Adds a section, without the extensions of its entries.
    pub(crate) fn add(&mut self, mut section: Entry) {
        if let Value::Map(entries) = &mut section.node.value {
            entries.iter_mut().for_each(|entry| without_extensions(&mut entry.node));
        }
        self.sections.push((section.key, section.node));
    }
}

/// Removes the keys that are ignored.
pub(crate) fn without_extensions(node: &mut Node) {
    if let Value::Map(entries) = &mut node.value {
        entries.retain(|entry| !entry.key.starts_with(EXTENSION));
    }
}

/// Reads a map. If that fails, adds a problem for each of its keys that is invalid: it reads the map again without the key.
fn read_all<T: DeserializeOwned>(
    mut node: Node,
    path: &KeyPath,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    let mut removed: Vec<String> = Vec::new();
    loop {
        let problem = match deserializer::read(&node, path) {
            Ok(value) => return Some(value).filter(|_| removed.is_empty()),
            Err(problem) => problem,
        };
        let culprit = KeyPath::parse(&problem.path).keys().get(path.keys().len()).cloned();
        // A key may be missing only because it was removed here.
        let is_new = |key: &String| !problem.message.contains(&format!("`{key}`"));
        if culprit.is_some() || removed.iter().all(is_new) {
            problems.push(problem);
        }
        let (Some(culprit), Value::Map(entries)) = (culprit, &mut node.value) else { return None };
        let length = entries.len();
        entries.retain(|entry| entry.key != culprit);
        if entries.len() == length {
            return None;
        }
        removed.push(culprit);
    }
}
