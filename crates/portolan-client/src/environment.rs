//! What the environment tells a client: `portolan up`, `run` and `exec` leave it to the programs
//! that they start.

use std::ffi::OsString;
use std::fmt;
use std::str::FromStr;

use portolan_broadcast::BroadcastConfig;

use crate::DiscoveryClientBuilder;

/// The variables that a client reads, under the names that Portolan's own settings have there.
pub mod variable {
    /// The scope of names.
    pub const SCOPE: &str = "PORTOLAN_SCOPE";
    /// The registry's address.
    pub const REGISTRY_URL: &str = "PORTOLAN_REGISTRY_URL";
    /// The token that the registry asks for.
    pub const TOKEN: &str = "PORTOLAN_TOKEN";
    /// The secret that signs messages of the channel.
    pub const BROADCAST_KEY: &str = "PORTOLAN_BROADCAST_KEY";
    /// Whether there is a channel at all.
    pub const BROADCAST_ENABLED: &str = "PORTOLAN_BROADCAST__ENABLED";
    /// The interface that the channel is on.
    pub const BROADCAST_INTERFACE: &str = "PORTOLAN_BROADCAST__INTERFACE";
    /// Group and port of the channel.
    pub const BROADCAST_ADDRESS: &str = "PORTOLAN_BROADCAST__MULTICAST_ADDRESS";
}

/// A variable that cannot be used. Retrying does not help: it must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {variable}: {reason}")]
pub struct InvalidVariable {
    /// Its name.
    pub variable: &'static str,
    /// What is wrong with it; never its value, which may be a secret.
    pub reason: String,
}

// === impl DiscoveryClientBuilder ===

impl DiscoveryClientBuilder {
    /// Takes over what the environment says: see [`variable`]. What it does not mention stays as
    /// it is.
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
        if let Some(token) = read::<String>(variable::TOKEN, &get)? {
            self = self.token(token);
        }
        let channel = channel(self.channel(), &get)?;
        Ok(self.broadcast(channel))
    }
}

fn channel(
    mut config: BroadcastConfig,
    get: &impl Fn(&'static str) -> Option<OsString>,
) -> Result<BroadcastConfig, InvalidVariable> {
    if let Some(key) = read::<String>(variable::BROADCAST_KEY, get)? {
        config.key = Some(key.into());
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

    fn built(variables: &[(&str, &str)]) -> Result<DiscoveryClientBuilder, InvalidVariable> {
        let get = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        };
        DiscoveryClientBuilder::default().variables(get)
    }

    #[test]
    fn what_up_leaves_to_its_programs_is_taken_over() {
        let builder = built(&[
            ("PORTOLAN_SCOPE", "shop"),
            ("PORTOLAN_REGISTRY_URL", "http://127.0.0.1:7003"),
            ("PORTOLAN_BROADCAST__INTERFACE", "127.0.0.1"),
            ("PORTOLAN_BROADCAST__MULTICAST_ADDRESS", "239.255.0.1:7999"),
            ("PORTOLAN_BROADCAST__ENABLED", "false"),
        ])
        .unwrap();
        let channel = builder.channel();
        assert_eq!(channel.interface, "127.0.0.1");
        assert_eq!(channel.multicast_address.port(), 7999);
        assert!(!channel.enabled);
        let client = builder.build().unwrap();
        assert!(format!("{client:?}").contains("http://127.0.0.1:7003"));
        assert!(format!("{client:?}").contains("shop"));
    }

    #[test]
    fn an_empty_environment_changes_nothing() {
        assert_eq!(built(&[]).unwrap().channel(), BroadcastConfig::default());
    }

    #[test]
    fn a_bad_variable_is_named_and_not_quoted() {
        let error = built(&[("PORTOLAN_SCOPE", "a b")]).unwrap_err().to_string();
        assert!(error.starts_with("the environment variable PORTOLAN_SCOPE: "), "{error}");
        let error = built(&[("PORTOLAN_BROADCAST__ENABLED", "maybe")]).unwrap_err();
        assert_eq!(error.variable, "PORTOLAN_BROADCAST__ENABLED");
    }
}
