//! The environment variables of a client, which `portolan up`, `run` and `exec` set for the programs
//! that they start.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use portolan_broadcast::{BroadcastConfig, KeyProblem, SharedKey, read_secret};
use portolan_core::{Remedy, Scope, Secret};
use serde::de::DeserializeOwned;

use crate::builder::DiscoveryClientBuilder;
use crate::registry_client::RegistryClientConfig;

/// The names of the variables, the same as those of Portolan's settings.
pub mod variable {
    /// The scope of the client.
    pub const SCOPE: &str = "PORTOLAN_SCOPE";
    /// The registry's URL.
    pub const REGISTRY_URL: &str = "PORTOLAN_REGISTRY_URL";
    /// The token for the registry.
    pub const TOKEN: &str = "PORTOLAN_TOKEN";
    /// The file with the token for the registry.
    pub const TOKEN_FILE: &str = "PORTOLAN_TOKEN_FILE";
    /// The tokens of registries by their URL.
    pub const TOKENS: &str = "PORTOLAN_TOKENS";
    /// The file with the key that signs messages on the broadcast channel.
    pub const BROADCAST_KEY_FILE: &str = "PORTOLAN_BROADCAST__KEY_FILE";
    /// The key that signs messages on the broadcast channel.
    pub const BROADCAST_KEY: &str = "PORTOLAN_BROADCAST_KEY";
    /// The keys of the broadcast channel, as JSON: `[{"id": "new", "file": "/etc/portolan/new.key"}]`.
    pub const BROADCAST_KEYS: &str = "PORTOLAN_BROADCAST__KEYS";
    /// The broadcast channels, as JSON: `[{"address": "239.1.1.1:7001"}]`.
    pub const BROADCAST_CHANNELS: &str = "PORTOLAN_BROADCAST__CHANNELS";
    /// Whether an IPv6 group accompanies the default group of the broadcast channel.
    pub const BROADCAST_IPV6: &str = "PORTOLAN_BROADCAST__IPV6";
    /// Whether broadcasting is enabled.
    pub const BROADCAST_ENABLED: &str = "PORTOLAN_BROADCAST__ENABLED";
    /// The network interface of the broadcast channel.
    pub const BROADCAST_INTERFACE: &str = "PORTOLAN_BROADCAST__INTERFACE";
    /// The multicast group and port of the broadcast channel.
    pub const BROADCAST_ADDRESS: &str = "PORTOLAN_BROADCAST__MULTICAST_ADDRESS";
}

pub use portolan_core::env::is_secret;

/// A variable that is not valid. Retrying does not help: it must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("environment variable {variable}: {reason}")]
pub struct InvalidVariable {
    /// The name of the variable.
    pub variable: &'static str,
    /// What is wrong with the value; never the value itself, which may be a secret.
    pub reason: String,
}

/// What the environment says, for parts of a program other than a discovery client: the scope, the registry and the broadcast
/// channel. A variable that is not set leaves the default.
#[derive(Debug, Clone)]
pub struct ClientEnvironment {
    /// The scope; `None` if it is not set.
    pub scope: Option<Scope>,
    /// How the registry is reached.
    pub registry: RegistryClientConfig,
    /// The settings of the broadcast channel.
    pub broadcast: BroadcastConfig,
}

/// A value in JSON.
struct Json<T>(T);

// === impl InvalidVariable ===

impl Remedy for InvalidVariable {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        Some(format!("correct or unset {}", self.variable).into())
    }
}

// === impl ClientEnvironment ===

impl ClientEnvironment {
    /// Reads the environment variables of [`variable`].
    pub fn read() -> Result<Self, InvalidVariable> {
        Self::of(std::env::var_os)
    }

    fn of(get: impl Fn(&'static str) -> Option<OsString>) -> Result<Self, InvalidVariable> {
        let mut registry = RegistryClientConfig::default();
        if let Some(url) = read::<String>(variable::REGISTRY_URL, &get)? {
            registry.url = url;
        }
        if let Some((token, file)) = token(&get)? {
            (registry.token, registry.token_file) = (Some(token), file);
        }
        let scope = read(variable::SCOPE, &get)?;
        Ok(Self { scope, registry, broadcast: broadcast(BroadcastConfig::default(), &get)? })
    }
}

// === impl Json ===

impl<T: DeserializeOwned> FromStr for Json<T> {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text).map(Self)
    }
}

// === impl DiscoveryClientBuilder ===

impl<H> DiscoveryClientBuilder<H> {
    /// Applies the environment variables of [`variable`]. A variable that is not set changes nothing.
    pub fn from_env(self) -> Result<Self, InvalidVariable> {
        self.variables(std::env::var_os)
    }

    fn variables(
        mut self,
        get: impl Fn(&'static str) -> Option<OsString>,
    ) -> Result<Self, InvalidVariable> {
        if let Some(scope) = read(variable::SCOPE, &get)? {
            self = self.scope(scope);
        }
        if let Some(url) = read::<String>(variable::REGISTRY_URL, &get)? {
            self = self.registry_url(url);
        }
        if let Some((token, file)) = token(&get)? {
            self = self.token(token).token_file(file);
        }
        let config = broadcast(self.broadcast_config(), &get)?;
        Ok(self.broadcast(config))
    }
}

/// The token, or that in the file which the environment names, and the file.
fn token(
    get: &impl Fn(&'static str) -> Option<OsString>,
) -> Result<Option<(Secret, Option<PathBuf>)>, InvalidVariable> {
    let invalid = |variable, reason: String| InvalidVariable { variable, reason };
    if let Some(token) = read::<String>(variable::TOKEN, get)? {
        return match token.is_empty() {
            true => Err(invalid(variable::TOKEN, "the token is empty".to_owned())),
            false => Ok(Some((token.into(), None))),
        };
    }
    let Some(file) = get(variable::TOKEN_FILE) else { return Ok(None) };
    let file = PathBuf::from(file);
    let token = read_secret(&file);
    token
        .map(|token| Some((token, Some(file))))
        .map_err(|problem| invalid(variable::TOKEN_FILE, problem.to_string()))
}

fn broadcast(
    mut config: BroadcastConfig,
    get: &impl Fn(&'static str) -> Option<OsString>,
) -> Result<BroadcastConfig, InvalidVariable> {
    if let Some(key) = read::<String>(variable::BROADCAST_KEY, get)? {
        let key = SharedKey::from(key);
        let reason = |problem: KeyProblem| problem.to_string();
        let variable = variable::BROADCAST_KEY;
        key.check().map_err(|problem| InvalidVariable { variable, reason: reason(problem) })?;
        config.key = Some(key);
    }
    if let Some(file) = get(variable::BROADCAST_KEY_FILE) {
        config.key_file = Some(file.into());
    }
    if let Some(Json(keys)) = read(variable::BROADCAST_KEYS, get)? {
        config.keys = keys;
    }
    if let Some(Json(channels)) = read(variable::BROADCAST_CHANNELS, get)? {
        config.channels = channels;
    }
    if let Some(ipv6) = read(variable::BROADCAST_IPV6, get)? {
        config.ipv6 = ipv6;
    }
    if let Some(enabled) = read(variable::BROADCAST_ENABLED, get)? {
        config.enabled = enabled;
    }
    if let Some(interface) = read(variable::BROADCAST_INTERFACE, get)? {
        config.interface = interface;
    }
    if let Some(address) = read(variable::BROADCAST_ADDRESS, get)? {
        config.multicast_address = address;
    }
    Ok(config)
}

fn read<T: FromStr<Err: fmt::Display>>(
    variable: &'static str,
    get: &impl Fn(&'static str) -> Option<OsString>,
) -> Result<Option<T>, InvalidVariable> {
    let invalid = |reason: String| InvalidVariable { variable, reason };
    let Some(value) = get(variable) else { return Ok(None) };
    let text = value.into_string().map_err(|_| invalid("is not UTF-8".to_owned()))?;
    text.parse().map(Some).map_err(|error: T::Err| invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reservations::UnknownHost;

    fn built(variables: &[(&str, &str)]) -> Result<DiscoveryClientBuilder, InvalidVariable> {
        let get = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        };
        DiscoveryClientBuilder::<UnknownHost>::default().variables(get)
    }

    #[test]
    fn variables_of_up_are_applied() {
        let builder = built(&[
            ("PORTOLAN_SCOPE", "shop"),
            ("PORTOLAN_REGISTRY_URL", "http://127.0.0.1:7003"),
            ("PORTOLAN_BROADCAST__INTERFACE", "127.0.0.1"),
            ("PORTOLAN_BROADCAST__MULTICAST_ADDRESS", "239.255.0.1:7999"),
            ("PORTOLAN_BROADCAST__ENABLED", "false"),
            ("PORTOLAN_BROADCAST__CHANNELS", r#"[{"address": "[ff02::1]:7001"}]"#),
            ("PORTOLAN_BROADCAST__IPV6", "false"),
            ("PORTOLAN_BROADCAST__KEYS", r#"[{"id": "new", "file": "/etc/new.key"}]"#),
        ])
        .unwrap();
        let channel = builder.broadcast_config();
        assert_eq!(channel.interface, "127.0.0.1");
        assert_eq!(channel.multicast_address.port(), 7999);
        assert!(!channel.enabled);
        assert_eq!(channel.keys[0].id, "new");
        assert_eq!((channel.channels[0].address.is_ipv6(), channel.ipv6), (true, false));
        let client = builder.build().unwrap();
        assert!(format!("{client:?}").contains("http://127.0.0.1:7003"));
        assert!(format!("{client:?}").contains("shop"));
    }

    #[test]
    fn registry_and_scope_of_a_service_are_read() {
        let get = |name: &str| {
            let known = [("PORTOLAN_SCOPE", "shop"), ("PORTOLAN_TOKEN", "hunter2")];
            known.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        };
        let environment = ClientEnvironment::of(get).unwrap();
        assert_eq!(environment.scope.unwrap().as_str(), "shop");
        assert!(environment.registry.token.is_some());
        assert_eq!(environment.registry.url, RegistryClientConfig::default().url);
        let url = |_: &str| Some(OsString::from(""));
        assert!(ClientEnvironment::of(url).is_err());
    }

    #[test]
    fn empty_environment_changes_nothing() {
        assert_eq!(built(&[]).unwrap().broadcast_config(), BroadcastConfig::default());
    }

    #[test]
    fn invalid_variable_is_named_without_its_value() {
        let error = built(&[("PORTOLAN_SCOPE", "a b")]).unwrap_err().to_string();
        assert!(error.starts_with("environment variable PORTOLAN_SCOPE: "), "{error}");
        let error = built(&[("PORTOLAN_BROADCAST__ENABLED", "maybe")]).unwrap_err();
        assert_eq!(error.variable, "PORTOLAN_BROADCAST__ENABLED");
        for (key, expected) in [("", "the key is empty"), ("hunter2", "the key has 7 bytes")] {
            let error = built(&[("PORTOLAN_BROADCAST_KEY", key)]).unwrap_err();
            assert!(error.reason.contains(expected), "{error}");
        }
    }
}
