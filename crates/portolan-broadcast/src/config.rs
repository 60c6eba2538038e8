//! The section `broadcast` of the configuration.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::IpNet;
use portolan_core::Ttl;
use portolan_core::duration::text;
use serde::{Deserialize, Serialize};

use crate::BroadcastError;
use crate::keys::{KeyFile, KeyProblem, Keyring, SharedKey};
use crate::validate::MAX_TEXT;

/// The bounds of the datagram size in bytes: an endpoint must fit, and UDP has a maximum.
const DATAGRAM_SIZES: RangeInclusive<usize> = 512..=65_507;
/// The bounds of the clock window.
const WINDOWS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
/// The largest table of announced instances.
const MAX_HEARD: usize = 1_000_000;

/// The most keys of a channel: each is tried on a message without a key id.
const MAX_KEYS: usize = 8;

/// The settings of the broadcast channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BroadcastConfig {
    /// Whether to use the channel. Default true.
    pub enabled: bool,
    /// Group and port of the channel. Default 239.255.0.1:7001, as specified.
    pub multicast_address: SocketAddr,
    /// The interface to send and receive on, by address or name. Default `0.0.0.0`: every interface
    /// with an IPv4 address, also those that appear later. Loopback always belongs to it, so that the
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
    /// The networks that messages may come from, such as `192.168.1.0/24`. Default empty: all.
    pub allowed_networks: Vec<IpNet>,
    /// Addresses with ports to which every message is also sent by unicast, for networks that filter
    /// multicast. Default empty. If several processes of a host listen, the kernel delivers a unicast datagram
    /// to one of them.
    pub peers: Vec<SocketAddr>,
    /// The maximum number of announced instances in memory. Default 10000, at most about 10 MB.
    pub max_heard: usize,
}

// === impl BroadcastConfig ===

impl BroadcastConfig {
    /// Checks every bound that the types do not express.
    pub fn validate(&self) -> Result<(), BroadcastError> {
        self.check_channel()?;
        self.check_times()?;
        self.check_key()?;
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

    /// Returns whether only signed messages are accepted.
    pub fn is_signed(&self) -> bool {
        self.key.is_some() || !self.keys.is_empty()
    }

    pub(crate) fn setting_error(
        &self,
        setting: &'static str,
        value: impl fmt::Display,
        problem: &'static str,
    ) -> BroadcastError {
        BroadcastError::Setting { setting, value: value.to_string(), problem }
    }

    pub(crate) fn no_ipv6_group(&self) -> BroadcastError {
        let problem = "is an IPv6 group, expected an IPv4 group such as 239.255.0.1:7001";
        self.setting_error("multicast_address", self.multicast_address, problem)
    }

    fn check_channel(&self) -> Result<(), BroadcastError> {
        let group = self.multicast_address;
        if !group.ip().is_multicast() || group.port() == 0 {
            let problem = "is not a multicast group with a port, such as 239.255.0.1:7001";
            return Err(self.setting_error("multicast_address", group, problem));
        }
        if group.is_ipv6() {
            return Err(self.no_ipv6_group());
        }
        let unusable = |peer: &&SocketAddr| {
            peer.is_ipv6() || peer.port() == 0 || peer.ip() == Ipv4Addr::UNSPECIFIED
        };
        if let Some(peer) = self.peers.iter().find(unusable) {
            let problem = "is not an IPv4 address with a port, such as 192.168.1.10:7001";
            return Err(self.setting_error("peers", peer, problem));
        }
        Ok(())
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

    /// Returns the keys, and reads those that are in files.
    pub(crate) fn keyring(&self) -> Result<Keyring, BroadcastError> {
        match &self.key {
            Some(key) => Ok(Keyring::of_key(key, self.key_id.clone())),
            None => Keyring::of_files(&self.keys)
                .map_err(|(index, problem)| key_error(format!("keys[{index}]"), problem)),
        }
    }

    fn check_key(&self) -> Result<(), BroadcastError> {
        if let Some(key) = &self.key {
            key.check().map_err(|problem| key_error("key".to_owned(), problem))?;
            if !self.keys.is_empty() {
                let problem = "is set beside broadcast.keys, expected one of them";
                return Err(self.setting_error("key", "the key", problem));
            }
        }
        if let Some(key_id) = &self.key_id
            && !is_key_id(key_id)
        {
            let problem = "is not a name of 1 to 64 bytes";
            return Err(self.setting_error("key_id", key_id, problem));
        }
        if self.key_id.is_some() && self.key.is_none() {
            let problem = "belongs to no key, expected broadcast.key beside it";
            return Err(self.setting_error(
                "key_id",
                self.key_id.as_deref().unwrap_or_default(),
                problem,
            ));
        }
        self.check_key_files(&self.keys)
    }

    fn check_key_files(&self, keys: &[KeyFile]) -> Result<(), BroadcastError> {
        if keys.len() > MAX_KEYS {
            let problem = "keys are too many, expected at most 8";
            return Err(self.setting_error("keys", keys.len(), problem));
        }
        for (index, KeyFile { id, .. }) in keys.iter().enumerate() {
            if !is_key_id(id) {
                let problem = "is not an id of 1 to 64 bytes";
                return Err(self.setting_error("keys", format_args!("{id:?}"), problem));
            }
            if keys[..index].iter().any(|earlier| earlier.id == *id) {
                return Err(key_error(format!("keys[{index}]"), KeyProblem::Duplicate("id")));
            }
        }
        Ok(())
    }
}

fn is_key_id(id: &str) -> bool {
    (1..=MAX_TEXT).contains(&id.len())
}

fn key_error(setting: String, problem: KeyProblem) -> BroadcastError {
    BroadcastError::Key { setting, problem }
}

impl Default for BroadcastConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            multicast_address: SocketAddr::from(([239, 255, 0, 1], 7001)),
            interface: "0.0.0.0".to_owned(),
            ttl: Duration::from_secs(60),
            announce_interval: Duration::from_secs(30),
            key: None,
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
