//! Which settings there are: learned from the defaults, which name every one of them.

use crate::error::Problem;
use crate::node::{Entry, Node, Value};
use crate::path::KeyPath;
use crate::suggest::nearest;

/// How many unknown keys are told of at once; nobody mends more in one go.
const MAX_PROBLEMS: usize = 20;

/// The settings that there are.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) defaults: Node,
    /// Maps whose keys are the user's own, such as the names of services. A map that is empty by
    /// default is one in any case.
    pub(crate) open: Vec<KeyPath>,
    /// Top-level keys that belong to somebody else.
    pub(crate) foreign: Vec<String>,
}

/// What a setting looks like, as far as its default tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Scalar,
    List,
    Map,
    /// The default says nothing: an entry of an open map, or something below an absent value.
    Any,
}

// === impl Known ===

impl Known {
    /// Finds every key of a layer that is not known.
    pub(crate) fn unknown_keys(&self, layer: &Node) -> Vec<Problem> {
        let mut problems = Vec::new();
        self.check(layer, &self.defaults, &KeyPath::default(), &mut problems);
        problems
    }

    /// Finds the setting that a path means; keys are compared by `same(known, given)`. The error
    /// is the path up to the first key that is not known, with the known ones beside it.
    pub(crate) fn find(
        &self,
        keys: &[String],
        same: impl Fn(&str, &str) -> bool,
    ) -> Result<(KeyPath, Kind), Unknown<'_>> {
        let mut path = KeyPath::default();
        let mut node = Some(&self.defaults);
        for key in keys {
            let here = node;
            let entry = here.and_then(|node| node.entries().iter().find(|e| same(&e.key, key)));
            let name = entry.map_or(key.as_str(), |entry| entry.key.as_str());
            if entry.is_none() && here.is_some_and(|node| !self.takes_any_key(node, &path)) {
                return Err(Unknown { path, siblings: here.map_or(&[], Node::entries) });
            }
            path = path.child(name);
            node = entry.map(|entry| &entry.node);
        }
        Ok((path, kind(node)))
    }

    /// What to say of an unknown key.
    pub(crate) fn hint(&self, key: &str, siblings: &[Entry], at_top: bool) -> String {
        let foreign = self.foreign.iter().filter(|_| at_top).map(String::as_str);
        let names: Vec<&str> = siblings.iter().map(|e| e.key.as_str()).chain(foreign).collect();
        if nearest(key, names.iter().copied()).is_none()
            && let Some(path) = self.elsewhere(key)
        {
            return format!("unknown; did you mean `{path}`?");
        }
        crate::fault::unknown(key, &names)
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
                None if foreign || self.takes_any_key(known, path) => {}
                None => problems.push(Problem {
                    origin: key_origin.clone(),
                    path: below.to_string(),
                    message: self.hint(key, known.entries(), at_top),
                }),
            }
        }
    }

    fn takes_any_key(&self, node: &Node, path: &KeyPath) -> bool {
        match &node.value {
            Value::Map(entries) => {
                let below_top = !path.keys().is_empty();
                (entries.is_empty() && below_top) || self.open.contains(path)
            }
            // `null` by default: the type decides what may stand below.
            Value::Scalar(scalar) => scalar.is_null(),
            Value::List(_) => false,
        }
    }

    /// The one other place where a setting of that name exists.
    fn elsewhere(&self, key: &str) -> Option<KeyPath> {
        let mut found = Vec::new();
        collect(&self.defaults, &KeyPath::default(), key, &mut found);
        match found.len() {
            1 => found.pop(),
            _ => None,
        }
    }
}

/// A key that is not known, and what stands there instead.
#[derive(Debug)]
pub(crate) struct Unknown<'a> {
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
