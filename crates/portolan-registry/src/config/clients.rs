//! The settings of what each client of the registry may use: section `service_registry.clients`.

use serde::{Deserialize, Serialize};

use super::InvalidRegistryConfig;

/// What each client may use: each address, or network of 64 bits of IPv6. Programs on the host of the registry share one
/// address, and are not limited each, except for the memory of all responses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientsConfig {
    /// The maximum number of open connections. Default 1,000.
    pub connections: usize,
    /// The maximum number of watches. Default 500.
    pub streams: usize,
    /// The maximum rate of requests a second; four times as many at once. Default 1,000.
    pub requests_per_second: u32,
    /// The maximum number of different wrong tokens; one more each ten seconds. Default 10.
    pub wrong_tokens: u32,
    /// The maximum number of endpoints that a host registers, or announces by broadcast. Default 5,000.
    pub endpoints: usize,
    /// The most memory in MiB that responses to the client take while it reads them. Default 32.
    pub response_mib: usize,
    /// The same for all clients. Default 128.
    pub total_response_mib: usize,
}

/// The largest number of anything.
const LIMIT: usize = 10_000_000;
/// The largest `total_response_mib`.
const LARGEST: usize = 65_536;

// === impl ClientsConfig ===

impl ClientsConfig {
    pub(super) fn validate(&self) -> Result<(), InvalidRegistryConfig> {
        let number = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
        let checks = [
            ("connections", self.connections, LIMIT),
            ("streams", self.streams, LIMIT),
            ("requests_per_second", number(self.requests_per_second), 1_000_000),
            ("wrong_tokens", number(self.wrong_tokens), 1_000_000),
            ("endpoints", self.endpoints, LIMIT),
            ("response_mib", self.response_mib, LARGEST),
            ("total_response_mib", self.total_response_mib, LARGEST),
        ];
        let invalid = checks.into_iter().find(|(_, value, limit)| !(1..=*limit).contains(value));
        invalid.map_or(Ok(()), |(key, value, limit)| {
            Err(InvalidRegistryConfig::Clients { key, value, limit })
        })
    }
}

impl Default for ClientsConfig {
    fn default() -> Self {
        Self {
            connections: 1_000,
            streams: 500,
            requests_per_second: 1_000,
            wrong_tokens: 10,
            endpoints: 5_000,
            response_mib: 32,
            total_response_mib: 128,
        }
    }
}
