//! Typed labels, and the limit on label values that come from outside.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use parking_lot::RwLock;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

/// The maximum number of distinct names that have their own label value.
pub const MAX_SERVICE_NAMES: usize = 1_000;

/// The label value of all names beyond the first [`MAX_SERVICE_NAMES`].
const OTHER: &str = "_other";

/// The result of an operation, as a label value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OperationResult {
    /// The operation succeeded.
    Success,
    /// The operation failed.
    Failure,
}

/// The kind of an error on the broadcast channel, as a label value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BroadcastErrorKind {
    /// A datagram could not be sent.
    Send,
    /// A datagram could not be received, parsed or verified.
    Receive,
}

/// Why a received datagram was dropped, as a label value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// It is not a message, or a member is out of bounds.
    Invalid,
    /// It comes from a network that is not allowed.
    Network,
    /// It is not signed, and the channel has a key.
    Unsigned,
    /// It is signed with a key that the channel does not have.
    UnknownKey,
    /// Its signature does not match.
    WrongSignature,
    /// It was signed for another channel.
    OtherChannel,
    /// Its timestamp differs from the clock.
    Clock,
    /// It was recorded and sent again.
    Replay,
    /// It arrived before, by another interface.
    Repeat,
    /// It announces a loopback address from another host.
    Loopback,
    /// It answers no query in flight.
    Unasked,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Dropped {
    pub(crate) reason: DropReason,
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
pub(crate) struct Rejected {
    pub(crate) reason: &'static str,
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

/// A name as a label value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Name(Arc<str>);

/// The names that have their own label value.
#[derive(Debug, Default)]
pub(crate) struct NameLabels {
    known: RwLock<HashSet<Arc<str>>>,
}

/// Gauge values of names that share one label value, which shows their sum. Zeros are not stored.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    counts: HashMap<Box<str>, usize>,
    sum: usize,
}

// === impl NameLabels ===

impl NameLabels {
    /// Returns the name itself if the limit allows another label value, else `_other`.
    pub(crate) fn label(&self, name: &str) -> Name {
        self.label_within(MAX_SERVICE_NAMES, name)
    }

    /// Returns the label value of a name that may be made up. Such names use at most half of the
    /// limit.
    pub(crate) fn unverified_label(&self, name: &str) -> Name {
        self.label_within(MAX_SERVICE_NAMES / 2, name)
    }

    /// Returns the label value of a name that anyone can make up: it never uses up the limit.
    pub(crate) fn known_label(&self, name: &str) -> Name {
        self.label_within(0, name)
    }

    fn label_within(&self, limit: usize, name: &str) -> Name {
        if let Some(known) = self.known.read().get(name) {
            return Name(Arc::clone(known));
        }
        let mut known = self.known.write();
        let full = known.len() >= limit && !known.contains(name);
        let label: Arc<str> = Arc::from(if full { OTHER } else { name });
        if !full {
            known.insert(Arc::clone(&label));
        }
        Name(label)
    }
}

// === impl Name ===

impl Name {
    /// Returns whether other names share the label value.
    pub(crate) fn is_shared(&self) -> bool {
        &*self.0 == OTHER
    }
}

// === impl Shared ===

impl Shared {
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

// === impl DropReason ===

impl DropReason {
    pub(crate) const ALL: [Self; 11] = [
        Self::Invalid,
        Self::Network,
        Self::Unsigned,
        Self::UnknownKey,
        Self::WrongSignature,
        Self::OtherChannel,
        Self::Clock,
        Self::Replay,
        Self::Repeat,
        Self::Loopback,
        Self::Unasked,
    ];
}

impl EncodeLabelValue for DropReason {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.write_str(match self {
            Self::Invalid => "invalid",
            Self::Network => "network",
            Self::Unsigned => "unsigned",
            Self::UnknownKey => "unknown_key",
            Self::WrongSignature => "wrong_signature",
            Self::OtherChannel => "other_channel",
            Self::Clock => "clock",
            Self::Replay => "replay",
            Self::Repeat => "repeat",
            Self::Loopback => "loopback",
            Self::Unasked => "unasked",
        })
    }
}
