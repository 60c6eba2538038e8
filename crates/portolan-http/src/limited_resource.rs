//! What a client may use only so much of.

use std::fmt;

/// What a client, or all clients with one identity, may use only so much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitedResource {
    /// Open connections of a client.
    Connections,
    /// Responses without an end of a client.
    Streams,
    /// Requests of a client in a second.
    Requests,
    /// Different wrong tokens of a client.
    WrongTokens,
    /// Responses without an end of an identity.
    StreamsOfIdentity,
    /// Requests of an identity in a second.
    RequestsOfIdentity,
    /// Bytes that responses to an identity take while they are read.
    ResponseBytesOfIdentity,
}

// === impl LimitedResource ===

impl LimitedResource {
    /// Whether all clients with the identity use it together.
    pub fn is_of_identity(self) -> bool {
        matches!(
            self,
            Self::StreamsOfIdentity | Self::RequestsOfIdentity | Self::ResponseBytesOfIdentity
        )
    }

    /// Returns the value of `reason` in the metric and in the audit log when the limit is reached.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Connections => "connections_of_client",
            Self::Streams => "streams_of_client",
            Self::Requests => "rate",
            Self::WrongTokens => "guesses",
            Self::StreamsOfIdentity => "streams_of_identity",
            Self::RequestsOfIdentity => "rate_of_identity",
            Self::ResponseBytesOfIdentity => "response_bytes_of_identity",
        }
    }
}

impl fmt::Display for LimitedResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connections => "connections",
            Self::Streams => "streams",
            Self::Requests => "requests a second",
            Self::WrongTokens => "wrong tokens",
            Self::StreamsOfIdentity => "streams of its identity",
            Self::RequestsOfIdentity => "requests a second of its identity",
            Self::ResponseBytesOfIdentity => "bytes of responses to its identity",
        })
    }
}
