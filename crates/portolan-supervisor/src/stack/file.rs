//! The part of `portolan.yaml` that describes a stack.

use std::collections::BTreeMap;
use std::path::Path;

use portolan_core::{Scope, ServiceName, fnv1a};
use serde::Deserialize;

pub use super::command::{InvalidStackCommand, Shell, StackCommand};
pub use super::entry::ServiceEntry;
pub use super::env_file::{EnvFiles, InvalidEnvFile};
pub use super::error::InvalidStack;
pub use super::files::FileEntry;
pub use super::grace::{Drain, Grace};
pub use super::needs::{Condition, Needs};
pub use super::port_spec::{MainPort, RangeText};
pub use super::terminal::StdinMode;

/// A stack file: a name and services.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StackFile {
    /// The scope of the stack. `None` is derived from the directory ([`scope_of_folder`]).
    pub name: Option<Scope>,
    /// The services by name.
    #[serde(default)]
    pub services: BTreeMap<ServiceName, ServiceEntry>,
}

/// The maximum number of instances of a service. It limits the damage of a typing error.
pub const MAX_INSTANCES: u16 = 64;

/// Derives a scope from a directory: its name and six hex digits of a hash of its path, so that two
/// working copies of a project have different scopes.
pub fn scope_of_folder(folder: &Path) -> Scope {
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let name: String = name.chars().map(allowed).take(100).collect();
    let name = match name.trim_matches('-') {
        "" => "stack",
        name => name,
    };
    let digits = fnv1a(folder.as_os_str().as_encoded_bytes().iter().copied()) & 0x00ff_ffff;
    format!("{name}-{digits:06x}").parse().expect("letters, digits and hyphens make a scope")
}

#[cfg(test)]
mod tests;
