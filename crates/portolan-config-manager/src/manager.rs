//! The running configuration.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::error::ConfigError;
use crate::loader::{Loaded, Loader, Settings};

/// Holds the configuration in force, and takes a new one only when it is good.
#[derive(Debug)]
pub struct ConfigManager<T> {
    loader: Loader<T>,
    current: ArcSwap<Loaded<T>>,
    /// Held while reloading, so that of two reloads the later one wins.
    reloading: Mutex<()>,
}

// === impl ConfigManager ===

impl<T: Settings> ConfigManager<T> {
    /// Loads the first configuration.
    pub fn new(loader: Loader<T>) -> Result<Self, ConfigError> {
        let current = ArcSwap::from_pointee(loader.load()?);
        Ok(Self { loader, current, reloading: Mutex::new(()) })
    }

    /// The configuration in force. Cheap; hold on to it for as long as one consistent view is
    /// needed, and no longer.
    pub fn current(&self) -> Arc<Loaded<T>> {
        self.current.load_full()
    }

    /// Reads the files again. Where anything is wrong, the configuration in force stays.
    pub fn reload(&self) -> Result<Arc<Loaded<T>>, ConfigError> {
        let _turn = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = Arc::new(self.loader.load()?);
        self.current.store(Arc::clone(&loaded));
        Ok(loaded)
    }
}
