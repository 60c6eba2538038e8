//! The error of a strategy, which names no implementation.

use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;

use portolan_core::Remedy;
use portolan_core::duration::format_rounded;

/// Why a strategy could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct StrategyError {
    source: Box<dyn Error + Send + Sync>,
    temporary: bool,
    optional: bool,
    not_permitted: bool,
    remedy: Option<Cow<'static, str>>,
}

#[derive(Debug, thiserror::Error)]
#[error("no answer within {}", format_rounded(*.0))]
struct TimedOut(Duration);

// === impl StrategyError ===

impl StrategyError {
    /// Returns an error that asking again does not resolve.
    pub fn new(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            source: source.into(),
            temporary: false,
            optional: false,
            not_permitted: false,
            remedy: None,
        }
    }

    /// Returns the error with the remedy of its source.
    pub fn from_remedy(source: impl Remedy + Send + Sync + 'static) -> Self {
        Self { remedy: source.remedy(), ..Self::new(source) }
    }

    /// Sets whether asking again a moment later may succeed.
    #[must_use]
    pub fn temporary(mut self, temporary: bool) -> Self {
        self.temporary = temporary;
        self
    }

    /// Returns whether asking again a moment later may succeed.
    pub fn is_temporary(&self) -> bool {
        self.temporary
    }

    /// Sets whether what could not be asked need not exist: a registry that nothing configures.
    #[must_use]
    pub fn optional(mut self, optional: bool) -> Self {
        self.optional = optional;
        self
    }

    /// Returns whether what could not be asked need not exist, so that the lookup goes on without it.
    pub fn is_optional(&self) -> bool {
        self.optional
    }

    /// Sets whether this client lacks the permission to ask.
    #[must_use]
    pub fn not_permitted(mut self, not_permitted: bool) -> Self {
        self.not_permitted = not_permitted;
        self
    }

    /// Returns whether this client lacks the permission to ask.
    pub fn is_not_permitted(&self) -> bool {
        self.not_permitted
    }

    pub(crate) fn timed_out(limit: Duration) -> Self {
        Self::new(TimedOut(limit))
    }
}

impl Remedy for StrategyError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        self.remedy.clone()
    }
}
