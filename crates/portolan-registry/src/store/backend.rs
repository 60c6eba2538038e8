//! The setting `service_registry.storage_backend`: a row of the table of stores, by its name.

use std::borrow::Cow;
use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{STORES, StoreKind, memory};

/// The names of the stores, as an error lists them.
const NAMES: &[&str] = &{
    let mut names = [""; STORES.len()];
    let mut row = 0;
    while row < STORES.len() {
        names[row] = STORES[row].name;
        row += 1;
    }
    names
};

/// The store of the endpoints. In the settings it is the name of a store.
#[derive(Clone, Copy)]
pub struct StorageBackend(&'static StoreKind);

// === impl StorageBackend ===

impl StorageBackend {
    /// This process; endpoints are lost when it ends, unless a data directory is configured.
    pub const MEMORY: Self = Self(&memory::KIND);

    /// Returns the store of this name, if this version knows it. It may not be built in, which
    /// [`RegistryConfig::validate`](crate::RegistryConfig::validate) tells.
    pub fn named(name: &str) -> Option<Self> {
        STORES.iter().find(|row| row.name == name).map(Self)
    }

    /// The name of the store in the settings.
    pub fn as_str(self) -> &'static str {
        self.0.name
    }

    /// The store's row in the table.
    pub(crate) fn kind(self) -> &'static StoreKind {
        self.0
    }
}

impl Default for StorageBackend {
    fn default() -> Self {
        Self::MEMORY
    }
}

impl PartialEq for StorageBackend {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for StorageBackend {}

impl fmt::Debug for StorageBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for StorageBackend {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for StorageBackend {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<str>::deserialize(deserializer)?;
        Self::named(&name).ok_or_else(|| D::Error::unknown_variant(&name, NAMES))
    }
}
