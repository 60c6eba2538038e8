//! The settings of the store `etcd`: section `service_registry.etcd`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::StoreTlsConfig;

/// The settings of the store `etcd`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EtcdConfig {
    /// The URLs of the members of the cluster, `http://` or `https://`, each with its port. Default
    /// `http://127.0.0.1:2379`. One is used at a time; if it is unreachable, the next one.
    pub endpoints: Vec<String>,
    /// The prefix of all keys. Default `/portolan`. Registries with different prefixes share nothing.
    pub prefix: String,
    /// The user. Default none: the cluster has no authentication, or takes the user from the client
    /// certificate.
    pub username: Option<String>,
    /// The file with the password of the user. A line break at its end does not count.
    pub password_file: Option<PathBuf>,
    /// The certificates for endpoints with `https://`.
    pub tls: StoreTlsConfig,
}

// === impl EtcdConfig ===

impl Default for EtcdConfig {
    fn default() -> Self {
        Self {
            endpoints: vec!["http://127.0.0.1:2379".to_owned()],
            prefix: "/portolan".to_owned(),
            username: None,
            password_file: None,
            tls: StoreTlsConfig::default(),
        }
    }
}

#[cfg(feature = "etcd")]
mod options {
    use portolan_etcd::{EtcdError, EtcdOptions, EtcdTls, EtcdUser};

    use super::EtcdConfig;
    use crate::InvalidRegistryConfig;
    use crate::config::store_files::files::{InvalidSetting, check_pair, read_secret};

    /// The longest prefix in bytes.
    const PREFIX: usize = 256;

    impl EtcdConfig {
        /// Checks every constraint that needs no file.
        pub(crate) fn validate(&self) -> Result<(), InvalidRegistryConfig> {
            let is_plain = |byte: u8| byte.is_ascii_graphic();
            let prefix = &self.prefix;
            let is_path = prefix.starts_with('/') && prefix.len() > 1 && !prefix.ends_with('/');
            if !is_path || prefix.len() > PREFIX || !prefix.bytes().all(is_plain) {
                let expected = "expected a path without a / at its end, such as /portolan";
                return Err(invalid("prefix", format!("{prefix:?} is not a prefix, {expected}")));
            }
            let (username, password) = (self.username.is_some(), self.password_file.is_some());
            check_pair(("username", username), ("password_file", password))
                .and_then(|()| self.tls.check())
                .map_err(invalid_setting)?;
            let is_tls = |url: &String| url.starts_with("https://");
            if self.endpoints.iter().any(is_tls) && self.tls.ca.is_none() {
                let text = "missing, expected the file of the authorities, because an endpoint is https://";
                return Err(invalid("tls.ca", text.to_owned()));
            }
            let endpoints = self.endpoints.iter().filter(|url| !is_tls(url)).cloned().collect();
            let plain = EtcdOptions { endpoints, ..EtcdOptions::default() };
            match plain.validate() {
                Err(EtcdError::NoEndpoint) if !self.endpoints.is_empty() => Ok(()),
                result => result.map_err(|error| InvalidRegistryConfig::from_etcd(&error)),
            }
        }

        /// Reads the files.
        pub(crate) fn options(&self) -> Result<EtcdOptions, InvalidRegistryConfig> {
            let mut options =
                EtcdOptions { endpoints: self.endpoints.clone(), ..EtcdOptions::default() };
            if let (Some(name), Some(file)) = (&self.username, &self.password_file) {
                let password = read_secret("password_file", file, "password");
                let password = password.map_err(invalid_setting)?;
                options.user = Some(EtcdUser { name: name.clone(), password });
            }
            let (ca, identity) = self.tls.read().map_err(invalid_setting)?;
            options.tls = EtcdTls { ca, identity };
            Ok(options)
        }
    }

    impl InvalidRegistryConfig {
        pub(crate) fn from_etcd(error: &EtcdError) -> Self {
            let key = if matches!(error, EtcdError::InvalidTls(_)) { "tls" } else { "endpoints" };
            invalid(key, error.to_string())
        }
    }

    fn invalid_setting(InvalidSetting { key, problem }: InvalidSetting) -> InvalidRegistryConfig {
        invalid(key, problem)
    }

    fn invalid(key: &'static str, problem: String) -> InvalidRegistryConfig {
        InvalidRegistryConfig::Etcd { key, problem }
    }
}

#[cfg(all(test, feature = "etcd"))]
mod tests {
    use portolan_core::Remedy;

    use crate::RegistryConfig;

    #[test]
    fn invalid_settings_of_etcd_are_rejected_with_their_key() {
        let texts = [
            r#"{"endpoints": []}"#,
            r#"{"endpoints": ["127.0.0.1:2379"]}"#,
            r#"{"endpoints": ["https://10.0.0.1:2379"]}"#,
            r#"{"prefix": "portolan/"}"#,
            r#"{"username": "portolan"}"#,
            r#"{"tls": {"key": "/etc/portolan/key.pem"}}"#,
        ]
        .map(|etcd| {
            let json = format!(r#"{{"storage_backend": "etcd", "etcd": {etcd}}}"#);
            let config: RegistryConfig = serde_json::from_str(&json).unwrap();
            let error = config.validate().unwrap_err();
            assert!(error.to_string().starts_with(&format!("{}: ", error.path())), "{error}");
            error.with_remedy()
        });
        insta::assert_snapshot!(texts.join("\n"));
    }

    #[test]
    fn missing_file_is_reported_with_its_key_and_path() {
        let etcd = r#"{"username": "a", "password_file": "/nonexistent/password"}"#;
        let json = format!(r#"{{"storage_backend": "etcd", "etcd": {etcd}}}"#);
        let config: RegistryConfig = serde_json::from_str(&json).unwrap();
        config.validate().unwrap();
        let error = config.etcd.options().unwrap_err().to_string();
        let start = "service_registry.etcd.password_file: cannot read /nonexistent/password: ";
        assert!(error.starts_with(start), "{error}");
    }
}
