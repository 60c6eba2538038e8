//! The options of one lookup, which override the configuration.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::strategy_name::StrategyName;

/// A function that learns which strategy is asked now.
#[derive(Clone)]
pub(crate) struct ProgressObserver(pub(crate) Arc<dyn Fn(StrategyName) + Send + Sync>);

/// The options of one lookup.
#[derive(Debug, Clone, Default)]
pub(crate) struct LookupOptions {
    pub(crate) timeout: Option<Duration>,
    pub(crate) retries: Option<u32>,
    /// How long to repeat the lookup until an instance is ready.
    pub(crate) wait: Option<Duration>,
    /// The names of the strategies, in order.
    pub(crate) strategies: Option<Vec<String>>,
    pub(crate) progress: Option<ProgressObserver>,
}

// === impl LookupOptions ===

impl LookupOptions {
    /// Sets the strategies, in order.
    pub(crate) fn set_strategies<I: IntoIterator<Item: AsRef<str>>>(&mut self, strategies: I) {
        let names = strategies.into_iter().map(|name| name.as_ref().to_owned());
        self.strategies = Some(names.collect());
    }
}

// === impl ProgressObserver ===

impl fmt::Debug for ProgressObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgressObserver").finish_non_exhaustive()
    }
}
