//! The settings of the store `consul`: section `service_registry.consul`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::StoreTlsConfig;

/// The settings of the store `consul`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConsulConfig {
    /// The URL of a Consul agent, `http://` or `https://`. Default `http://127.0.0.1:8500`: the agent of this machine,
    /// which knows the servers. Portolan's services are registered at this agent.
    pub url: String,
    /// The prefix of all keys. Default `portolan`. Registries with different prefixes share nothing.
    pub prefix: String,
    /// The file with the token. A line break at its end does not count. Default none: the anonymous token.
    pub token_file: Option<PathBuf>,
    /// The certificates for a URL with `https://`.
    pub tls: StoreTlsConfig,
    /// Whether Portolan's services are registered at the agent, so that Consul's DNS, API and UI have them. Default
    /// true.
    pub publish: bool,
    /// Whether services that were registered by Consul's own clients are shown. Default true.
    pub import: bool,
}

// === impl ConsulConfig ===

impl Default for ConsulConfig {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:8500".to_owned(),
            prefix: "portolan".to_owned(),
            token_file: None,
            tls: StoreTlsConfig::default(),
            publish: true,
            import: true,
        }
    }
}

#[cfg(feature = "consul")]
mod options {
    use portolan_consul::{ConsulError, ConsulOptions, ConsulTls};

    use super::ConsulConfig;
    use crate::InvalidRegistryConfig;
    use crate::config::store_files::files::{InvalidSetting, read_secret};

    /// The longest prefix in bytes.
    const PREFIX: usize = 256;

    impl ConsulConfig {
        /// Checks every constraint that needs no file.
        pub(crate) fn validate(&self) -> Result<(), InvalidRegistryConfig> {
            // A path of a URL, whose segments nothing on the way rewrites.
            let is_plain = |segment: &str| {
                segment.starts_with(|c: char| c.is_ascii_alphanumeric())
                    && segment.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c))
            };
            if self.prefix.len() > PREFIX || !self.prefix.split('/').all(is_plain) {
                let expected = "expected names of letters, digits, '-', '_' and '.', with / between them, such \
                                as portolan";
                let text = format!("{:?} is not a prefix, {expected}", self.prefix);
                return Err(invalid("prefix", text));
            }
            self.tls.check().map_err(invalid_setting)?;
            let options = ConsulOptions { url: self.url.clone(), ..ConsulOptions::default() };
            options.validate().map_err(|error| InvalidRegistryConfig::from_consul(&error))?;
            if options.is_tls() && self.tls.ca.is_none() {
                let text =
                    "missing, expected the file of the authorities, because the URL is https://";
                return Err(invalid("tls.ca", text.to_owned()));
            }
            Ok(())
        }

        /// Reads the files.
        pub(crate) fn options(&self) -> Result<ConsulOptions, InvalidRegistryConfig> {
            let token = self.token_file.as_deref();
            let token = token.map(|file| read_secret("token_file", file, "token")).transpose();
            let token = token.map_err(invalid_setting)?;
            let (ca, identity) = self.tls.read().map_err(invalid_setting)?;
            Ok(ConsulOptions { url: self.url.clone(), token, tls: ConsulTls { ca, identity } })
        }
    }

    impl InvalidRegistryConfig {
        pub(crate) fn from_consul(error: &ConsulError) -> Self {
            let key = match error {
                ConsulError::InvalidTls(_) => "tls",
                ConsulError::InvalidToken => "token_file",
                _ => "url",
            };
            invalid(key, error.to_string())
        }
    }

    fn invalid_setting(InvalidSetting { key, problem }: InvalidSetting) -> InvalidRegistryConfig {
        invalid(key, problem)
    }

    fn invalid(key: &'static str, problem: String) -> InvalidRegistryConfig {
        InvalidRegistryConfig::Consul { key, problem }
    }
}

#[cfg(all(test, feature = "consul"))]
mod tests {
    use portolan_core::Remedy;

    use crate::RegistryConfig;

    #[test]
    fn invalid_settings_of_consul_are_rejected_with_their_key() {
        let texts = [
            r#"{"url": "127.0.0.1:8500"}"#,
            r#"{"url": "https://10.0.0.1:8501"}"#,
            r#"{"prefix": "/portolan/"}"#,
            r#"{"prefix": "a/../b"}"#,
            r#"{"prefix": ""}"#,
            r#"{"tls": {"key": "/etc/portolan/key.pem"}}"#,
        ]
        .map(|consul| {
            let json = format!(r#"{{"storage_backend": "consul", "consul": {consul}}}"#);
            let config: RegistryConfig = serde_json::from_str(&json).unwrap();
            let error = config.validate().unwrap_err();
            assert!(error.to_string().starts_with(&format!("{}: ", error.path())), "{error}");
            error.with_remedy()
        });
        insta::assert_snapshot!(texts.join("\n"));
    }

    #[test]
    fn missing_file_is_reported_with_its_key_and_path() {
        let json =
            r#"{"storage_backend": "consul", "consul": {"token_file": "/nonexistent/token"}}"#;
        let config: RegistryConfig = serde_json::from_str(json).unwrap();
        config.validate().unwrap();
        let error = config.consul.options().unwrap_err().to_string();
        let start = "service_registry.consul.token_file: cannot read /nonexistent/token: ";
        assert!(error.starts_with(start), "{error}");
    }
}
