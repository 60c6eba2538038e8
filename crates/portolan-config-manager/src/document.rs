//! The sections of a file that belong to somebody else.

use serde::de::DeserializeOwned;

use crate::error::{ConfigError, Problem};
use crate::node::Node;
use crate::path::KeyPath;
use crate::{Origin, deserializer};

/// What the files say under the keys that [`crate::Loader::foreign`] named, untouched.
#[derive(Debug, Clone, Default)]
pub struct Document {
    pub(crate) sections: Vec<(String, Node)>,
}

// === impl Document ===

impl Document {
    /// Reads one section; `None` where the files do not have it. Errors name file, line and column.
    pub fn section<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, ConfigError> {
        let Some(node) = self.node(key) else { return Ok(None) };
        let path = KeyPath::default().child(key);
        deserializer::read(node, &path).map(Some).map_err(ConfigError::one)
    }

    /// Where something stands, for an error about it: the place of the nearest key above it that
    /// the files have. The path is written like `services.api.needs`.
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

    /// A problem with something that was read from here, at its place.
    pub fn problem(&self, path: &str, message: impl Into<String>) -> ConfigError {
        ConfigError::one(Problem {
            origin: self.origin(path).unwrap_or(Origin::Default),
            path: path.to_owned(),
            message: message.into(),
        })
    }

    fn node(&self, key: &str) -> Option<&Node> {
        self.sections.iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }
}
