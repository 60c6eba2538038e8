//! Why the view is stale.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use portolan_core::duration::format_duration;

/// Why reads may return old data.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Staleness {
    /// The state of the store was never read: reads return nothing.
    NotLoaded {
        /// Why.
        reason: Arc<str>,
    },
    /// The view was last known to be current with the store longer ago than it may be.
    Old {
        /// How long ago.
        age: Duration,
        /// How long ago it may be, `max_view_age`.
        limit: Duration,
        /// Why the feed is lost; `None` if it is open, but the store does not confirm that the view has everything.
        reason: Option<Arc<str>>,
        /// The store.
        store: &'static str,
    },
    /// The view does not show what was committed seconds ago.
    Late,
}

impl fmt::Display for Staleness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLoaded { reason } => {
                write!(f, "the registry has not read its state: {reason}")
            }
            Self::Old { age, limit, reason, store } => {
                let age = format_duration(Duration::from_secs(age.as_secs()));
                let limit = format_duration(*limit);
                write!(f, "the registry is stale: its view is {age} old, more than {limit}: ")?;
                match reason {
                    Some(reason) => f.write_str(reason),
                    None => write!(f, "the store {store} does not confirm that it is current"),
                }
            }
            Self::Late => {
                f.write_str("the registry is stale: its view does not show what was committed")
            }
        }
    }
}
