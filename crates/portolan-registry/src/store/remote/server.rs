//! What a server over a cluster tells the others: the value of its key.

use serde::{Deserialize, Serialize};

/// A live server. Other versions may leave members out, and add some.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ServerValue {
    version: String,
    process: u32,
    /// The node of the agent that it uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<String>,
    /// The URL at which clients reach it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
}

// === impl ServerValue ===

impl ServerValue {
    /// The value of this server.
    pub(crate) fn own(node: Option<String>, url: Option<String>) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { version, process: std::process::id(), node, url }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a struct of texts and numbers is JSON")
    }

    /// Reads the value of any version. One that cannot be read is that of a server which tells nothing.
    pub(crate) fn decode(value: &[u8]) -> Self {
        serde_json::from_slice(value).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_other_versions_are_read() {
        let own = ServerValue::own(Some("node".into()), Some("http://a:7000".into()));
        assert_eq!(ServerValue::decode(&own.encode()), own);
        let newer = ServerValue::decode(br#"{"version":"9.0.0","process":1,"zone":"b"}"#);
        assert_eq!((newer.version.as_str(), newer.url), ("9.0.0", None));
        assert_eq!(ServerValue::decode(b"no JSON"), ServerValue::default());
    }
}
