//! The channels that the settings describe, and their keys.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::BroadcastConfig;
use crate::BroadcastError;
use crate::keys::{KeyFile, KeyProblem, Keyring, read_key};
use crate::validate::MAX_TEXT;

/// The most keys of a channel: each is tried on a message without a key id.
const MAX_KEYS: usize = 8;

/// The most channels.
const MAX_CHANNELS: usize = 8;

/// The group of the specification.
pub(super) const DEFAULT_GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 0, 1);
/// The link-local IPv6 group beside it. 0x504f is "PO".
const COMPANION_GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x504f);

/// A channel: a group on some interfaces, with its keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelConfig {
    /// Group and port: IPv4, or link-local IPv6 (`ff02::/16`), such as `[ff02::504f]:7001`.
    pub address: SocketAddr,
    /// The interfaces, by name or address. Default none: that of `broadcast.interface`.
    #[serde(default)]
    pub interfaces: Vec<String>,
    /// The keys. Default none: those of `broadcast.keys` or `broadcast.key`.
    #[serde(default)]
    pub keys: Vec<KeyFile>,
}

/// A channel with every default filled in.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Channel {
    pub(crate) address: SocketAddr,
    pub(crate) interfaces: Vec<String>,
    /// The place of the keys in the settings: the index of the channel, or `None` for those of the section.
    pub(crate) keys_of: Option<usize>,
    /// Whether it is the IPv6 group that accompanies the channel before it.
    pub(crate) is_companion: bool,
    /// Whether its messages go to `broadcast.peers`, too.
    pub(crate) has_peers: bool,
}

// === impl BroadcastConfig ===

impl BroadcastConfig {
    /// Returns whether only signed messages are accepted.
    pub fn is_signed(&self) -> bool {
        let has_keys = self.key.is_some() || self.key_file.is_some() || !self.keys.is_empty();
        // Either all have keys or none has: see `check_channels`.
        has_keys || self.channels.iter().any(|channel| !channel.keys.is_empty())
    }

    /// Returns the channels in order, the group that accompanies one after it.
    pub(crate) fn channels(&self) -> Vec<Channel> {
        let mut channels: Vec<Channel> = if self.channels.is_empty() {
            vec![self.channel(self.multicast_address, &[], None)]
        } else {
            let channels = self.channels.iter().enumerate();
            let channel = |(index, it): (usize, &ChannelConfig)| {
                let keys_of = (!it.keys.is_empty()).then_some(index);
                self.channel(it.address, &it.interfaces, keys_of)
            };
            channels.map(channel).collect()
        };
        if let Some(channel) = channels.iter_mut().find(|channel| channel.address.is_ipv4()) {
            channel.has_peers = true;
        }
        let mut channels: Vec<_> = channels.into_iter().flat_map(Channel::with_loopback).collect();
        channels.extend(self.companion());
        channels
    }

    fn channel(
        &self,
        address: SocketAddr,
        interfaces: &[String],
        keys_of: Option<usize>,
    ) -> Channel {
        let interfaces = match interfaces {
            [] => vec![self.interface.clone()],
            some => some.to_vec(),
        };
        Channel { address, interfaces, keys_of, is_companion: false, has_peers: false }
    }

    fn companion(&self) -> Option<Channel> {
        let group = self.multicast_address;
        let is_default = self.channels.is_empty() && group.ip() == IpAddr::V4(DEFAULT_GROUP);
        let networks = &self.allowed_networks;
        let is_allowed =
            networks.is_empty() || networks.iter().any(|it| matches!(it, IpNet::V6(_)));
        let stays_here = self.interface.parse::<IpAddr>().is_ok_and(|it| it.is_loopback());
        (self.ipv6 && is_default && is_allowed && !stays_here).then(|| {
            let address = SocketAddr::from((COMPANION_GROUP, group.port()));
            Channel { is_companion: true, ..self.channel(address, &[], None) }
        })
    }

    /// Reads every key file, as the channels do when they are joined.
    ///
    /// # Errors
    ///
    /// A file cannot be read, other users can read it, or it has no usable key.
    pub fn check_files(&self) -> Result<(), BroadcastError> {
        self.channels().iter().try_for_each(|channel| self.keyring(channel.keys_of).map(drop))
    }

    /// Returns the keys of a channel, and reads those that are in files.
    pub(crate) fn keyring(&self, keys_of: Option<usize>) -> Result<Keyring, BroadcastError> {
        let of_channel = keys_of.and_then(|index| Some((index, self.channels.get(index)?)));
        match (of_channel, &self.key) {
            (Some((channel, config)), _) => {
                Keyring::of_files(&config.keys).map_err(|(index, problem)| {
                    key_error(format!("channels[{channel}].keys[{index}]"), problem)
                })
            }
            (None, Some(key)) => Ok(Keyring::of_key(key, self.key_id.clone())),
            (None, None) if self.key_file.is_some() => {
                let key = read_key(self.key_file.as_deref().unwrap_or(Path::new("")));
                let key = key.map_err(|problem| key_error("key_file".to_owned(), problem))?;
                Ok(Keyring::of_key(&key, self.key_id.clone()))
            }
            (None, None) => Keyring::of_files(&self.keys)
                .map_err(|(index, problem)| key_error(format!("keys[{index}]"), problem)),
        }
    }

    /// Returns the files of the keys of a channel.
    pub(crate) fn key_files(&self, keys_of: Option<usize>) -> Vec<PathBuf> {
        let of = |keys: &[KeyFile]| keys.iter().map(|key| key.file.clone()).collect();
        match keys_of.and_then(|index| self.channels.get(index)) {
            Some(channel) => of(&channel.keys),
            None if self.key.is_some() => Vec::new(),
            None => self.key_file.clone().map_or_else(|| of(&self.keys), |file| vec![file]),
        }
    }

    pub(crate) fn unknown_interface(&self, channel: &Channel, name: &str) -> BroadcastError {
        let is_own = channel.interfaces != [self.interface.clone()];
        let setting = if is_own { "channels" } else { "interface" };
        let problem =
            "is not the name or address of an interface of this machine, 0.0.0.0 or 127.0.0.1";
        self.setting_error(setting, name, problem)
    }

    pub(super) fn check_channels(&self) -> Result<(), BroadcastError> {
        self.check_group("multicast_address", self.multicast_address)?;
        if self.channels.len() > MAX_CHANNELS {
            let problem = "channels are too many, expected at most 8";
            return Err(self.setting_error("channels", self.channels.len(), problem));
        }
        let is_unsigned = self.key.is_none() && self.keys.is_empty() && self.key_file.is_none();
        for (index, channel) in self.channels.iter().enumerate() {
            let address = channel.address;
            self.check_group("channels", address)?;
            self.check_key_files("channels", &channel.keys)?;
            if self.channels[..index].iter().any(|earlier| earlier.address == address) {
                let problem = "occurs twice, expected each group once";
                return Err(self.setting_error("channels", address, problem));
            }
            if is_unsigned && channel.keys.is_empty() && self.is_signed() {
                let problem = "has no keys although another channel has";
                return Err(self.setting_error("channels", address, problem));
            }
        }
        self.check_peers()
    }

    fn check_group(&self, setting: &'static str, group: SocketAddr) -> Result<(), BroadcastError> {
        if !group.ip().is_multicast() || group.port() == 0 {
            let problem = "is not a multicast group with a port, such as 239.255.0.1:7001";
            return Err(self.setting_error(setting, group, problem));
        }
        match group {
            SocketAddr::V6(v6) if v6.ip().octets()[1] & 0x0f != 2 => {
                let problem = "is not a link-local IPv6 group, such as [ff02::504f]:7001";
                Err(self.setting_error(setting, group, problem))
            }
            _ => Ok(()),
        }
    }

    fn check_peers(&self) -> Result<(), BroadcastError> {
        let unusable = |peer: &&SocketAddr| {
            peer.is_ipv6() || peer.port() == 0 || peer.ip() == Ipv4Addr::UNSPECIFIED
        };
        if let Some(peer) = self.peers.iter().find(unusable) {
            let problem = "is not an IPv4 address with a port, such as 192.168.1.10:7001";
            return Err(self.setting_error("peers", peer, problem));
        }
        let Some(peer) = self.peers.first() else { return Ok(()) };
        if self.channels().iter().any(|channel| channel.has_peers) {
            return Ok(());
        }
        let problem = "is a peer of no channel, expected a channel with an IPv4 group";
        Err(self.setting_error("peers", peer, problem))
    }

    pub(super) fn check_keys(&self) -> Result<(), BroadcastError> {
        if let Some(key) = &self.key {
            key.check().map_err(|problem| key_error("key".to_owned(), problem))?;
            if !self.keys.is_empty() {
                let problem = "is set beside broadcast.keys, expected one of them";
                return Err(self.setting_error("key", "the key", problem));
            }
        }
        if self.key_file.is_some() && !(self.keys.is_empty() && self.key.is_none()) {
            let problem = "is set beside broadcast.key or broadcast.keys, expected one of them";
            return Err(self.setting_error("key_file", "the file", problem));
        }
        if let Some(key_id) = &self.key_id
            && !is_key_id(key_id)
        {
            let problem = "is not a name of 1 to 64 bytes";
            return Err(self.setting_error("key_id", key_id, problem));
        }
        if self.key_id.is_some() && self.key.is_none() && self.key_file.is_none() {
            let problem = "belongs to no key, expected broadcast.key beside it";
            return Err(self.setting_error(
                "key_id",
                self.key_id.as_deref().unwrap_or_default(),
                problem,
            ));
        }
        self.check_key_files("keys", &self.keys)
    }

    fn check_key_files(
        &self,
        setting: &'static str,
        keys: &[KeyFile],
    ) -> Result<(), BroadcastError> {
        if keys.len() > MAX_KEYS {
            let problem = "keys are too many, expected at most 8";
            return Err(self.setting_error(setting, keys.len(), problem));
        }
        for (index, KeyFile { id, .. }) in keys.iter().enumerate() {
            if !is_key_id(id) {
                let problem = "is not an id of 1 to 64 bytes";
                return Err(self.setting_error(setting, format_args!("{id:?}"), problem));
            }
            if keys[..index].iter().any(|earlier| earlier.id == *id) {
                return Err(key_error(setting.to_owned(), KeyProblem::Duplicate("id")));
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

// === impl Channel ===

impl Channel {
    /// Returns the channel, and if its group is IPv6 also the IPv4 group that takes its place on loopback: Linux
    /// has no route for IPv6 multicast there.
    fn with_loopback(self) -> impl Iterator<Item = Self> {
        let on_loopback = match self.address {
            SocketAddr::V4(_) => None,
            SocketAddr::V6(group) => {
                let [.., high, low] = group.ip().octets();
                let address = SocketAddr::from(([239, 255, high, low], group.port()));
                let interfaces = vec![Ipv4Addr::LOCALHOST.to_string()];
                Some(Self { address, interfaces, ..self.clone() })
            }
        };
        on_loopback.into_iter().chain([self])
    }
}
