//! The limit on label values that come from outside: names of services and pools.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};
use tokio::time::Instant;

use crate::OperationResult;

/// The maximum number of distinct names that have their own label value.
pub const MAX_SERVICE_NAMES: usize = 1_000;

/// The label value of all names beyond [`MAX_SERVICE_NAMES`].
const OTHER: &str = "_other";
/// How long a name is not used before another one may take its place. Shorter, and made-up names would push out each other and the
/// real ones.
const IDLE: Duration = Duration::from_secs(300);

/// A name as a label value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Name(Arc<str>);

/// The names that have their own label value.
#[derive(Debug)]
pub(crate) struct NameLabels {
    /// With the time of the last use, in milliseconds since the start.
    known: RwLock<HashMap<Arc<str>, AtomicU64>>,
    started: Instant,
}

/// What a name may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// A label value of its own.
    Own,
    /// One of half of the label values, because the name may be made up.
    Unverified,
    /// The label value that it has already, because anyone can make the name up.
    Known,
}

/// What a use of a name changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LabelChange {
    /// The name has its own label value from now on.
    Gained(Name),
    /// The name has its own label value no longer.
    Lost(Name),
}

/// Gauge values of names that share one label value, which shows their sum. Zeros are not stored.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    counts: HashMap<Box<str>, usize>,
    sum: usize,
}

// === impl Claim ===

impl Claim {
    /// Of a lookup in the registry: a name that was not found may be made up.
    pub(crate) fn of_lookup(result: OperationResult) -> Self {
        match result {
            OperationResult::Success => Self::Own,
            OperationResult::Failure => Self::Unverified,
        }
    }
}

// === impl NameLabels ===

impl NameLabels {
    /// Records with the label value of a name: the name itself if the limit permits it, else `_other`. The lock is held
    /// meanwhile, so that nothing is recorded with a label value that is being given up. `change` is called before.
    pub(crate) fn with<R>(
        &self,
        name: &str,
        claim: Claim,
        change: impl Fn(LabelChange),
        record: impl FnOnce(Name) -> R,
    ) -> R {
        {
            let known = self.known.read();
            if let Some((label, used)) = known.get_key_value(name) {
                if claim != Claim::Known {
                    used.store(self.now(), Ordering::Relaxed);
                }
                return record(Name(Arc::clone(label)));
            }
        }
        let mut known = self.known.write();
        let limit = match claim {
            Claim::Own => MAX_SERVICE_NAMES,
            Claim::Unverified => MAX_SERVICE_NAMES / 2,
            Claim::Known => 0,
        };
        let has_label = known.contains_key(name);
        if !has_label && claim == Claim::Own && known.len() >= limit {
            self.give_up_idle(&mut known).into_iter().map(LabelChange::Lost).for_each(&change);
        }
        if !has_label && known.len() >= limit {
            return record(Name(Arc::from(OTHER)));
        }
        let label: Arc<str> = Arc::from(name);
        if known.insert(Arc::clone(&label), AtomicU64::new(self.now())).is_none() {
            change(LabelChange::Gained(Name(Arc::clone(&label))));
        }
        record(Name(label))
    }

    /// Removes the name that was used longest ago, if it is idle.
    fn give_up_idle(&self, known: &mut HashMap<Arc<str>, AtomicU64>) -> Option<Name> {
        let used = |(name, used): (&Arc<str>, &AtomicU64)| {
            (used.load(Ordering::Relaxed), Arc::clone(name))
        };
        let (used, name) = known.iter().map(used).min()?;
        let idle = self.now().saturating_sub(used);
        (u128::from(idle) >= IDLE.as_millis()).then(|| {
            known.remove(&name);
            Name(name)
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Default for NameLabels {
    fn default() -> Self {
        Self { known: RwLock::default(), started: Instant::now() }
    }
}

// === impl Name ===

impl Name {
    /// Returns the label value that names beyond the limit share.
    pub(crate) fn shared() -> Self {
        Self(Arc::from(OTHER))
    }

    /// Returns whether other names share the label value.
    pub(crate) fn is_shared(&self) -> bool {
        &*self.0 == OTHER
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl EncodeLabelValue for Name {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.write_str(&self.0)
    }
}

// === impl Shared ===

impl Shared {
    /// Returns the value of one name.
    pub(crate) fn get(&self, name: &str) -> usize {
        self.counts.get(name).copied().unwrap_or_default()
    }

    /// Sets the value of one name, and returns the sum of all names.
    pub(crate) fn set(&mut self, name: &str, count: usize) -> usize {
        let before = match count {
            0 => self.counts.remove(name),
            _ => self.counts.insert(name.into(), count),
        };
        self.sum = self.sum - before.unwrap_or(0) + count;
        self.sum
    }
}
