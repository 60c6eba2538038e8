//! The sections of a configuration file that are not settings.

use serde::de::DeserializeOwned;

use crate::error::{ConfigError, Problem};
use crate::node::Node;
use crate::path::KeyPath;
use crate::{Origin, deserializer};

/// The sections with the keys that [`crate::Loader::foreign`] names, unread.
#[derive(Debug, Clone, Default)]
pub struct Document {
    pub(crate) sections: Vec<(String, Node)>,
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

    /// Returns the error for an invalid value in a section, with its place.
    pub fn problem(
        &self,
        path: &str,
        message: impl Into<String>,
        remedy: Option<String>,
    ) -> ConfigError {
        ConfigError::one(Problem {
            origin: self.origin(path).unwrap_or(Origin::Default),
            path: path.to_owned(),
            message: message.into(),
            remedy,
        })
    }

    fn node(&self, key: &str) -> Option<&Node> {
        self.sections.iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }
}
