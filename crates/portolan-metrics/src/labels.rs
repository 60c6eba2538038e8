//! Typed labels.

use std::fmt::Write as _;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

use crate::names::Name;

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
pub(crate) struct Ended {
    pub(crate) instance: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reported {
    pub(crate) outcome: &'static str,
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

// === impl EncodeLabelValue ===

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

/// The result of a change of the settings.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ConfigChange {
    pub(crate) result: OperationResult,
}
