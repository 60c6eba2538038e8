//! The loader: merges the layers into one typed value.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::deserializer;
use crate::document::{Document, without_extensions};
use crate::environment::{self, Environment, Flag, Reserved};
use crate::error::{ConfigError, Problem};
use crate::node::{Node, Value};
use crate::path::KeyPath;
use crate::schema::Schema;
use crate::{MAX_FILE_SIZE, Origin, yaml};

/// The text shown instead of a secret.
const MASK: &str = "(set, not shown)";

/// A type of settings. The serialized default must name every setting.
pub trait LoadableSettings: Serialize + DeserializeOwned + Default {}

impl<T: Serialize + DeserializeOwned + Default> LoadableSettings for T {}

/// Loads a `T` from layers of settings.
#[derive(Debug, Clone)]
pub struct Loader<T> {
    files: Vec<Source>,
    requested: serde_json::Value,
    variables: Vec<(OsString, OsString)>,
    reserved: Vec<Reserved>,
    flags: Vec<Flag>,
    secrets: Vec<KeyPath>,
    never_empty: Vec<KeyPath>,
    open: Vec<KeyPath>,
    foreign: Vec<String>,
    settings: PhantomData<fn() -> T>,
}

/// A file, and its contents if the caller has read it.
#[derive(Debug, Clone)]
struct Source {
    path: PathBuf,
    contents: Option<Vec<u8>>,
}

/// A loaded configuration with the origin of each setting.
#[derive(Debug, Clone)]
pub struct Loaded<T> {
    /// The settings.
    pub value: T,
    /// The origin of each setting, by its path, such as `discovery.timeouts.overall`.
    pub origins: BTreeMap<String, Origin>,
    /// The sections that are not settings.
    pub document: Document,
    /// The environment variables with Portolan's prefix that name no setting.
    pub ignored_variables: Vec<String>,
    secrets: Vec<KeyPath>,
}

/// A setting in force.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// Its path, such as `discovery.timeouts.overall`.
    pub path: String,
    /// Its value; secrets are masked.
    pub value: serde_json::Value,
    /// Its origin.
    pub origin: Origin,
}

// === impl Loader ===

impl<T> Default for Loader<T> {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            requested: serde_json::Value::Null,
            variables: Vec::new(),
            reserved: Vec::new(),
            flags: Vec::new(),
            secrets: Vec::new(),
            never_empty: Vec::new(),
            open: Vec::new(),
            foreign: Vec::new(),
            settings: PhantomData,
        }
    }
}

impl<T: LoadableSettings> Loader<T> {
    /// Creates a loader with the defaults only.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a YAML file, which must exist. Later files override earlier ones.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.files.push(Source { path: path.into(), contents: None });
        self
    }

    /// Adds a YAML file that the caller has read, as one must that has checked what it reads.
    pub fn contents(mut self, path: impl Into<PathBuf>, contents: Vec<u8>) -> Self {
        self.files.push(Source { path: path.into(), contents: Some(contents) });
        self
    }

    /// Sets the settings that requests to the running process have changed, as a JSON object: a layer above the files and below
    /// the environment. `null` is none.
    pub fn requested(mut self, settings: serde_json::Value) -> Self {
        self.requested = settings;
        self
    }

    /// Adds environment variables, such as those of `std::env::vars_os`. `PORTOLAN_A__B=x` sets `a.b`.
    pub fn environment(
        mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        self.variables.extend(variables);
        self
    }

    /// Reserves a variable for the setting with this path, or, with `None`, for another use. The
    /// variable with the whole path overrides a reserved variable.
    pub fn reserve(mut self, variable: &str, path: Option<&str>) -> Self {
        let path = path.map(KeyPath::parse);
        self.reserved.push(Reserved { variable: variable.to_owned(), path });
        self
    }

    /// Adds a setting from the command line, the strongest layer. Later flags override earlier ones.
    pub fn flag(mut self, name: &str, path: &str, value: impl Into<String>) -> Self {
        let (name, path) = (name.to_owned(), KeyPath::parse(path));
        self.flags.push(Flag { name, path, value: value.into() });
        self
    }

    /// Masks a setting, and all settings below it, in errors and in [`Loaded::settings`].
    pub fn secret(mut self, path: &str) -> Self {
        self.secrets.push(KeyPath::parse(path));
        self
    }

    /// Returns whether a setting is masked.
    pub fn is_secret(&self, path: &str) -> bool {
        let path = KeyPath::parse(path);
        self.secrets.iter().any(|secret| path.is_within(secret))
    }

    /// Rejects an empty value of a setting, such as that of a variable which is set and empty: it is more
    /// likely a mistake than the wish to turn the setting off, for which there is `null`.
    pub fn never_empty(mut self, path: &str) -> Self {
        self.never_empty.push(KeyPath::parse(path));
        self
    }

    /// Declares that a map accepts any key, although its default has entries.
    pub fn open(mut self, path: &str) -> Self {
        self.open.push(KeyPath::parse(path));
        self
    }

    /// Declares a top-level key that is not a setting; its section is in [`Loaded::document`].
    pub fn foreign(mut self, key: &str) -> Self {
        self.foreign.push(key.to_owned());
        self
    }

    /// Loads and merges all layers.
    ///
    /// # Errors
    /// A file cannot be read, or settings are unknown or invalid.
    pub fn load(&self) -> Result<Loaded<T>, ConfigError> {
        let defaults = serde_json::to_value(T::default()).map_err(ConfigError::Defaults)?;
        let defaults = Node::from_defaults(&defaults);
        let schema = Schema { defaults, open: self.open.clone(), foreign: self.foreign.clone() };
        let mut merged = schema.defaults.clone();
        let (layers, ignored) = self.layers(&schema)?;
        layers.into_iter().for_each(|layer| merged.overlay(layer));
        let document = take_foreign(&mut merged, &self.foreign);
        let value = deserializer::read(&merged, &KeyPath::default())
            .map_err(|problem| ConfigError::one(self.masked(problem)))?;
        let mut origins = BTreeMap::new();
        collect_origins(&merged, &KeyPath::default(), &mut origins);
        let secrets = self.secrets.clone();
        Ok(Loaded { value, origins, document, ignored_variables: ignored, secrets })
    }

    /// Returns the layers in order, and the environment variables that name no setting.
    fn layers(&self, schema: &Schema) -> Result<(Vec<Node>, Vec<String>), ConfigError> {
        let mut problems = Vec::new();
        let mut layers = Vec::new();
        for Source { path, contents } in &self.files {
            let bytes = contents.clone().map_or_else(|| read_file(path), Ok)?;
            let Some(mut layer) = parse_file(path, &bytes)? else { continue };
            without_extensions(&mut layer);
            problems.extend(schema.unknown_keys(&layer));
            layers.push(layer);
        }
        if !self.requested.is_null() {
            let layer = Node::from_json(&self.requested, &Origin::Request);
            problems.extend(schema.unknown_keys(&layer));
            layers.push(layer);
        }
        let environment = environment::from_environment(&self.variables, &self.reserved, schema);
        let environment = environment.unwrap_or_else(|found| {
            problems.extend(found);
            Environment::default()
        });
        layers.extend(environment.layers);
        for flag in &self.flags {
            match environment::from_flag(flag, schema) {
                Ok(layer) => layers.push(layer),
                Err(problem) => problems.push(problem),
            }
        }
        problems.extend(layers.iter().flat_map(|layer| self.empty_values(layer)));
        if !problems.is_empty() {
            return Err(ConfigError::Settings(problems));
        }
        Ok((layers, environment.ignored))
    }

    fn empty_values(&self, layer: &Node) -> Vec<Problem> {
        let empty = self.never_empty.iter().filter_map(|path| {
            let node = path.keys().iter().try_fold(layer, |node, key| node.get(key))?;
            let is_empty = matches!(&node.value, Value::Scalar(value) if value.raw().is_empty());
            is_empty.then(|| Problem {
                origin: node.origin.clone(),
                path: path.to_string(),
                message: "the value is empty".to_owned(),
                remedy: Some("set a value, or remove the setting".to_owned()),
            })
        });
        empty.collect()
    }

    /// Replaces the message of a problem with a secret, because the message may quote its value.
    fn masked(&self, problem: Problem) -> Problem {
        let path = KeyPath::parse(&problem.path);
        if !self.secrets.iter().any(|secret| path.is_within(secret)) {
            return problem;
        }
        let message = "invalid type (the value is secret and not shown)".to_owned();
        Problem { message, ..problem }
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let unreadable = |source| ConfigError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE_SIZE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

fn parse_file(path: &Path, bytes: &[u8]) -> Result<Option<Node>, ConfigError> {
    if bytes.len() as u64 > MAX_FILE_SIZE {
        return Err(ConfigError::TooLarge { path: path.to_owned(), limit: MAX_FILE_SIZE });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| ConfigError::NotText {
        path: path.to_owned(),
        position: error.valid_up_to(),
    })?;
    let place: Arc<Path> = Arc::from(path);
    let problem = |origin, message: &str| {
        let (path, message) = (String::new(), message.to_owned());
        ConfigError::one(Problem { origin, path, message, remedy: None })
    };
    let node = yaml::parse(text, &place).map_err(|error| {
        let (line, column) = (error.line, error.column);
        problem(Origin::File { path: Arc::clone(&place), line, column }, &error.message)
    })?;
    match node {
        Some(node) if node.is_null() => Ok(None),
        Some(Node { value: Value::Map(_), .. }) | None => Ok(node),
        Some(node) => Err(problem(
            node.origin,
            "expected a map of keys and values at the top of a configuration",
        )),
    }
}

fn take_foreign(merged: &mut Node, foreign: &[String]) -> Document {
    let mut document = Document::default();
    if let Value::Map(entries) = &mut merged.value {
        for entry in entries.extract_if(.., |entry| foreign.contains(&entry.key)) {
            document.add(entry);
        }
    }
    document
}

fn collect_origins(node: &Node, path: &KeyPath, origins: &mut BTreeMap<String, Origin>) {
    if node.entries().is_empty() {
        origins.insert(path.to_string(), node.origin.clone());
    }
    for entry in node.entries() {
        collect_origins(&entry.node, &path.child(&entry.key), origins);
    }
}

// === impl Loaded ===

impl<T: LoadableSettings> Loaded<T> {
    /// Returns every setting in force, sorted by path, with secrets masked.
    ///
    /// # Errors
    /// The value cannot be serialized.
    pub fn settings(&self) -> Result<Vec<Setting>, ConfigError> {
        let value = serde_json::to_value(&self.value).map_err(ConfigError::Defaults)?;
        let mut settings = Vec::new();
        self.collect(&value, &KeyPath::default(), &mut settings);
        settings.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(settings)
    }

    fn collect(&self, value: &serde_json::Value, path: &KeyPath, settings: &mut Vec<Setting>) {
        match value {
            serde_json::Value::Object(map) if !map.is_empty() => {
                for (key, value) in map {
                    self.collect(value, &path.child(key), settings);
                }
            }
            value => {
                settings.push(Setting {
                    path: path.to_string(),
                    value: self.shown(path, value),
                    origin: self.nearest_origin(path),
                });
            }
        }
    }

    /// Returns every setting in force by its path, unmasked.
    pub(crate) fn flat(&self) -> Result<BTreeMap<KeyPath, serde_json::Value>, ConfigError> {
        let value = serde_json::to_value(&self.value).map_err(ConfigError::Defaults)?;
        let mut settings = BTreeMap::new();
        flatten(&value, &KeyPath::default(), &mut settings);
        Ok(settings)
    }

    /// Returns what may be shown of the value of a setting.
    pub(crate) fn shown(&self, path: &KeyPath, value: &serde_json::Value) -> serde_json::Value {
        match value {
            serde_json::Value::Null => value.clone(),
            _ if self.is_secret(path) => MASK.into(),
            _ => value.clone(),
        }
    }

    pub(crate) fn is_secret(&self, path: &KeyPath) -> bool {
        self.secrets.iter().any(|secret| path.is_within(secret))
    }

    /// Returns the origin of a setting, such as `discovery.timeouts.overall`. If it is serialized in
    /// another shape than it was read in, returns the origin of the nearest setting above or below.
    pub fn origin(&self, path: &str) -> Origin {
        self.nearest_origin(&KeyPath::parse(path))
    }

    pub(crate) fn nearest_origin(&self, path: &KeyPath) -> Origin {
        let mut above = Some(path.clone());
        while let Some(path) = above {
            if let Some(origin) = self.origins.get(&path.to_string()) {
                return origin.clone();
            }
            above = path.parent();
        }
        let below = self.origins.iter().find(|(key, _)| KeyPath::parse(key).is_within(path));
        below.map_or(Origin::Default, |(_, origin)| origin.clone())
    }
}

/// Collects the leaves of a value; an empty map is none.
pub(crate) fn flatten(
    value: &serde_json::Value,
    path: &KeyPath,
    to: &mut BTreeMap<KeyPath, serde_json::Value>,
) {
    match value {
        serde_json::Value::Object(map) => {
            map.iter().for_each(|(key, value)| flatten(value, &path.child(key), to));
        }
        leaf => _ = to.insert(path.clone(), leaf.clone()),
    }
}

#[cfg(test)]
mod tests;
