//! The labels, typed, and the bound on those that come from outside.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use parking_lot::RwLock;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

/// How many different names become labels of their own.
pub const MAX_SERVICE_NAMES: usize = 1_000;

/// The label of all names beyond the first [`MAX_SERVICE_NAMES`].
const OTHER: &str = "_other";

/// How something that was tried ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OperationResult {
    /// It found or did what it should.
    Success,
    /// It did not.
    Failure,
}

/// What went wrong on the broadcast channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BroadcastErrorKind {
    /// A datagram could not be sent.
    Send,
    /// A datagram could not be received, read, or believed.
    Receive,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Pool {
    pub(crate) service_type: Name,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Service {
    pub(crate) service_name: Name,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Lookup {
    pub(crate) service_name: Name,
    pub(crate) result: OperationResult,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Request {
    pub(crate) strategy: &'static str,
    pub(crate) result: OperationResult,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Strategy {
    pub(crate) strategy: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Action {
    pub(crate) action: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Error {
    pub(crate) r#type: BroadcastErrorKind,
}

/// A name as a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Name(Arc<str>);

/// The names that are labels by now.
#[derive(Debug, Default)]
pub(crate) struct NameLabels {
    known: RwLock<HashSet<Arc<str>>>,
}

/// Numbers of names that share one label, which shows their sum. Names at 0 take no room.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    counts: HashMap<Box<str>, usize>,
    sum: usize,
}

// === impl NameLabels ===

impl NameLabels {
    /// The name itself while there is room for it, else `_other`.
    pub(crate) fn label(&self, name: &str) -> Name {
        self.label_within(MAX_SERVICE_NAMES, name)
    }

    /// Returns the label of a name from an unauthenticated peer. Such names use at most half of the
    /// capacity.
    pub(crate) fn unverified_label(&self, name: &str) -> Name {
        self.label_within(MAX_SERVICE_NAMES / 2, name)
    }

    fn label_within(&self, room: usize, name: &str) -> Name {
        if let Some(known) = self.known.read().get(name) {
            return Name(Arc::clone(known));
        }
        let mut known = self.known.write();
        let full = known.len() >= room && !known.contains(name);
        let label: Arc<str> = Arc::from(if full { OTHER } else { name });
        if !full {
            known.insert(Arc::clone(&label));
        }
        Name(label)
    }
}

// === impl Name ===

impl Name {
    /// Whether other names share it.
    pub(crate) fn is_shared(&self) -> bool {
        &*self.0 == OTHER
    }
}

// === impl Shared ===

impl Shared {
    /// Sets the number of one name, and returns the sum over all names.
    pub(crate) fn set(&mut self, name: &str, count: usize) -> usize {
        let before = match count {
            0 => self.counts.remove(name),
            _ => self.counts.insert(name.into(), count),
        };
        self.sum = self.sum - before.unwrap_or(0) + count;
        self.sum
    }
}

// === impl EncodeLabelValue ===

impl EncodeLabelValue for Name {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.write_str(&self.0)
    }
}

impl EncodeLabelValue for OperationResult {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.write_str(match self {
            Self::Success => "success",
            Self::Failure => "failure",
        })
    }
}

impl EncodeLabelValue for BroadcastErrorKind {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.write_str(match self {
            Self::Send => "send",
            Self::Receive => "receive",
        })
    }
}
