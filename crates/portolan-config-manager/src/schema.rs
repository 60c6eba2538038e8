//! The schema of the settings, derived from their defaults, which name every setting.

use portolan_core::suggest;

use crate::error::Problem;
use crate::node::{Entry, Node, Value};
use crate::path::KeyPath;

/// The maximum number of unknown keys in one error.
const MAX_PROBLEMS: usize = 20;

/// The settings that exist.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) defaults: Node,
    /// Maps that accept any key, such as the names of services. A map that is empty by default
    /// always does.
    pub(crate) open: Vec<KeyPath>,
    /// Top-level keys that are not settings.
    pub(crate) foreign: Vec<String>,
}

/// The kind of a setting, as far as its default shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Scalar,
    List,
    Map,
    /// Unknown: an entry of an open map, or a setting below an absent value.
    Any,
}

// === impl Schema ===

impl Schema {
    /// Returns a problem for each unknown key of a layer.
    pub(crate) fn unknown_keys(&self, layer: &Node) -> Vec<Problem> {
        let mut problems = Vec::new();
        self.check(layer, &self.defaults, &KeyPath::default(), &mut problems);
        problems
    }

    /// Finds a setting by its path; keys are compared by `same(known, given)`. The error has the path
    /// before the first unknown key, and the keys that are known there.
    pub(crate) fn find(
        &self,
        keys: &[String],
        same: impl Fn(&str, &str) -> bool,
    ) -> Result<(KeyPath, Kind), UnknownKey<'_>> {
        let mut path = KeyPath::default();
        let mut node = Some(&self.defaults);
        for key in keys {
            let here = node;
            let entry = here.and_then(|node| node.entries().iter().find(|e| same(&e.key, key)));
            let name = entry.map_or(key.as_str(), |entry| entry.key.as_str());
            if entry.is_none() && here.is_some_and(|node| !self.accepts_any_key(node, &path)) {
                return Err(UnknownKey { path, siblings: here.map_or(&[], Node::entries) });
            }
            path = path.child(name);
            node = entry.map(|entry| &entry.node);
        }
        Ok((path, kind(node)))
    }

    /// Returns the message for an unknown key.
    pub(crate) fn hint(&self, key: &str, siblings: &[Entry], at_top: bool) -> String {
        let foreign = self.foreign.iter().filter(|_| at_top).map(String::as_str);
        let names: Vec<&str> = siblings.iter().map(|e| e.key.as_str()).chain(foreign).collect();
        if suggest(key, names.iter().copied()).is_none()
            && let Some(path) = self.elsewhere(key)
        {
            return format!("unknown key; did you mean `{path}`?");
        }
        crate::de_error::unknown_key(key, &names)
    }

    fn check(&self, layer: &Node, known: &Node, path: &KeyPath, problems: &mut Vec<Problem>) {
        if !matches!(known.value, Value::Map(_)) {
            return;
        }
        let at_top = path.keys().is_empty();
        for Entry { key, key_origin, node } in layer.entries() {
            if problems.len() >= MAX_PROBLEMS {
                return;
            }
            let below = path.child(key);
            let foreign = at_top && self.foreign.contains(key);
            match known.get(key) {
                Some(known) => self.check(node, known, &below, problems),
                None if foreign || self.accepts_any_key(known, path) => {}
                None => problems.push(Problem {
                    origin: key_origin.clone(),
                    path: below.to_string(),
                    message: self.hint(key, known.entries(), at_top),
                    remedy: None,
                }),
            }
        }
    }

    fn accepts_any_key(&self, node: &Node, path: &KeyPath) -> bool {
        match &node.value {
            Value::Map(entries) => {
                let below_top = !path.keys().is_empty();
                (entries.is_empty() && below_top) || self.open.contains(path)
            }
            // Absent by default: the type decides which keys exist below.
            Value::Scalar(scalar) => scalar.is_null(),
            Value::List(_) => false,
        }
    }

    /// Returns the path of the setting with this name, if there is exactly one elsewhere.
    fn elsewhere(&self, key: &str) -> Option<KeyPath> {
        let mut found = Vec::new();
        collect(&self.defaults, &KeyPath::default(), key, &mut found);
        match found.len() {
            1 => found.pop(),
            _ => None,
        }
    }
}

/// An unknown key: the path before it, and the entries that are known there.
#[derive(Debug)]
pub(crate) struct UnknownKey<'a> {
    pub(crate) path: KeyPath,
    pub(crate) siblings: &'a [Entry],
}

fn kind(node: Option<&Node>) -> Kind {
    match node.map(|node| &node.value) {
        None => Kind::Any,
        Some(Value::Scalar(_)) => Kind::Scalar,
        Some(Value::List(_)) => Kind::List,
        Some(Value::Map(_)) => Kind::Map,
    }
}

fn collect(node: &Node, path: &KeyPath, key: &str, found: &mut Vec<KeyPath>) {
    for entry in node.entries() {
        let below = path.child(&entry.key);
        if entry.key == key {
            found.push(below.clone());
        }
        collect(&entry.node, &below, key, found);
    }
}
