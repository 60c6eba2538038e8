//! The section `broadcast` of the configuration.

mod channels;

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use portolan_core::Ttl;
use portolan_core::duration::text;
use serde::{Deserialize, Serialize};

use crate::BroadcastError;
use crate::keys::{KeyFile, SharedKey};

pub(crate) use channels::Channel;
pub use channels::ChannelConfig;

/// The bounds of the datagram size in bytes: an endpoint must fit, and UDP has a maximum.
const DATAGRAM_SIZES: RangeInclusive<usize> = 512..=65_507;
/// The bounds of the clock window.
const WINDOWS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
/// The largest table of announced instances.
const MAX_HEARD: usize = 1_000_000;

/// The settings of the broadcast channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BroadcastConfig {
    /// Whether to use the channel. Default true.
    pub enabled: bool,
    /// Group and port of the channel. Default 239.255.0.1:7001, as specified. The short form of `channels` for
    /// one channel.
    pub multicast_address: SocketAddr,
    /// Whether the IPv6 group ff02::504f accompanies the group 239.255.0.1, with the same port and keys, so that
    /// hosts without IPv4 are found. Default true. It has no effect on any other group, and none if
    /// `allowed_networks` has no IPv6 network.
    pub ipv6: bool,
    /// The channels, in place of `multicast_address`. Default none; at most 8.
    pub channels: Vec<ChannelConfig>,
    /// The interface to send and receive on, by address or name. Default `0.0.0.0`: every interface
    /// that supports multicast, also those that appear later. Loopback always belongs to it, so that the
    /// processes of one machine find each other without a network; `127.0.0.1` means loopback and
    /// nothing else.
    pub interface: String,
    /// How long an announcement is valid, 1 s to 24 h; less if the TTL of the endpoint is less. Default 60 s:
    /// two announce intervals, so that one lost heartbeat has no effect.
    #[serde(with = "text")]
    pub ttl: Duration,
    /// The interval between announcements of a published endpoint. Default 30 s.
    #[serde(with = "text")]
    pub announce_interval: Duration,
    /// The secret key that signs messages and verifies received ones, at least 16 bytes that cannot be
    /// guessed. Default none: every sender on the channel is trusted. `PORTOLAN_BROADCAST_KEY` sets it. The short form of
    /// `keys` for one key.
    pub key: Option<SharedKey>,
    /// The file with the key, in place of `key`. Default none.
    pub key_file: Option<PathBuf>,
    /// The id of the key, at most 64 bytes, sent with each message. Default none.
    pub key_id: Option<String>,
    /// The keys of the channel, each an id and a file: the first one signs, every one verifies, so that a key is
    /// replaced without a gap. Default none; not together with `key`. At most 8.
    pub keys: Vec<KeyFile>,
    /// The maximum size of a datagram in bytes, 512 to 65507. Default 1400: it is never
    /// fragmented on Ethernet, tunnels included.
    pub max_datagram: usize,
    /// How many routers a datagram may pass, plus one. Default 1: it stays on the local network.
    pub hop_limit: u8,
    /// The maximum difference between a message's timestamp and this clock, 1 s to 1 h. Default 30 s:
    /// synchronised clocks differ by less, and an older recording cannot be replayed.
    #[serde(with = "text")]
    pub window: Duration,
    /// The longest TTL that is accepted. Default 1 h.
    #[serde(with = "text")]
    pub max_ttl: Duration,
    /// The networks that messages may come from, such as `192.168.1.0/24`. Default empty: the networks that this host is attached
    /// to, and the hosts of `peers`.
    pub allowed_networks: Vec<IpNet>,
    /// Addresses with ports to which every message is also sent by unicast, for networks that filter
    /// multicast. Default empty. If several processes of a host listen, the kernel delivers a unicast datagram
    /// to one of them.
    pub peers: Vec<SocketAddr>,
    /// The maximum number of announced instances in memory, and of those that a registry imports. Default 10000, at most about
    /// 10 MB. If there are more, those of the address that announces the most make room for others.
    pub max_heard: usize,
}

// === impl BroadcastConfig ===

impl BroadcastConfig {
    /// Checks every bound that the types do not express.
    pub fn validate(&self) -> Result<(), BroadcastError> {
        self.check_channels()?;
        self.check_times()?;
        self.check_keys()?;
        if !DATAGRAM_SIZES.contains(&self.max_datagram) {
            let problem = "bytes is out of bounds, expected 512 to 65507";
            return Err(self.setting_error("max_datagram", self.max_datagram, problem));
        }
        if !(1..=MAX_HEARD).contains(&self.max_heard) {
            let problem = "is out of bounds, expected 1 to 1000000";
            return Err(self.setting_error("max_heard", self.max_heard, problem));
        }
        Ok(())
    }

    pub(crate) fn setting_error(
        &self,
        setting: &'static str,
        value: impl fmt::Display,
        problem: &'static str,
    ) -> BroadcastError {
        BroadcastError::Setting { setting, value: value.to_string(), problem }
    }

    fn check_times(&self) -> Result<(), BroadcastError> {
        Ttl::new(self.ttl).map_err(BroadcastError::Ttl)?;
        let text = |duration: Duration| portolan_core::duration::format_duration(duration);
        if self.announce_interval.is_zero() || self.announce_interval >= self.ttl {
            let problem = "is not between 0 and broadcast.ttl";
            return Err(self.setting_error(
                "announce_interval",
                text(self.announce_interval),
                problem,
            ));
        }
        if !WINDOWS.contains(&self.window) {
            let problem = "is out of bounds, expected 1s to 1h";
            return Err(self.setting_error("window", text(self.window), problem));
        }
        if self.max_ttl < self.ttl || self.max_ttl > Ttl::MAX {
            let problem = "is out of bounds, expected broadcast.ttl to 24h";
            return Err(self.setting_error("max_ttl", text(self.max_ttl), problem));
        }
        Ok(())
    }
}

impl Default for BroadcastConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            multicast_address: SocketAddr::from((channels::DEFAULT_GROUP, 7001)),
            ipv6: true,
            channels: Vec::new(),
            interface: "0.0.0.0".to_owned(),
            ttl: Duration::from_secs(60),
            announce_interval: Duration::from_secs(30),
            key: None,
            key_file: None,
            key_id: None,
            keys: Vec::new(),
            max_datagram: 1400,
            hop_limit: 1,
            window: Duration::from_secs(30),
            max_ttl: Duration::from_secs(60 * 60),
            allowed_networks: Vec::new(),
            peers: Vec::new(),
            max_heard: 10_000,
        }
    }
}

#[cfg(test)]
mod tests;
