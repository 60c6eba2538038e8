//! The containers of a Compose project, as the engine lists them.

use std::path::Path;

use serde::Deserialize;

use crate::container::{Labels, or_default};

const SERVICE: &str = "com.docker.compose.service";
const DIRECTORY: &str = "com.docker.compose.project.working_dir";

/// A container of a project, running or not.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProjectContainer {
    #[serde(default, deserialize_with = "or_default")]
    labels: Labels,
    #[serde(default, deserialize_with = "or_default")]
    ports: Vec<ListedPort>,
}

/// A port of a running container.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListedPort {
    #[serde(default)]
    public_port: u16,
}

// === impl ProjectContainer ===

impl ProjectContainer {
    /// Returns the service of which it is an instance.
    pub fn service(&self) -> &str {
        self.labels.get(SERVICE).map_or("", String::as_str)
    }

    /// Returns the directory of the project by which it was created.
    pub fn directory(&self) -> Option<&Path> {
        self.labels.get(DIRECTORY).map(Path::new)
    }

    /// Returns the ports of the host at which it is published now: none if it does not run.
    pub fn published(&self) -> impl Iterator<Item = u16> {
        self.ports.iter().map(|port| port.public_port).filter(|port| *port != 0)
    }
}
