//! The secrets of a process: where they come from, and who gets them.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use portolan_broadcast::KeyFile;
use portolan_client::environment::{is_secret, variable};
use portolan_client::normalized_url;
use portolan_config_manager::Loaded;
use portolan_core::Secret;
use portolan_server::Settings;
use portolan_server::secrets::is_descriptor;
use serde_json::json;

use super::Context;
use crate::exit::{Exit, Failure};

// === impl Context ===

impl Context {
    /// Returns the environment variables that give a child process the same scope, registry and
    /// broadcast channel. It gets the token and the key only if they are to be passed; the files of both only help a
    /// program that may read them.
    pub(crate) fn environment(
        &self,
        registry_url: &str,
        pass_token: bool,
    ) -> BTreeMap<String, String> {
        let Settings { token_file, broadcast, discovery, .. } = self.settings();
        let token_file = discovery.token_file.as_ref().or(token_file.as_ref());
        let mut variables = BTreeMap::new();
        let mut put = |name: &str, value: &str| variables.insert(name.to_owned(), value.to_owned());
        put(variable::SCOPE, self.scope.as_str());
        put(variable::REGISTRY_URL, registry_url);
        put(variable::BROADCAST_ENABLED, &broadcast.enabled.to_string());
        put(variable::BROADCAST_INTERFACE, &broadcast.interface);
        put(variable::BROADCAST_IPV6, &broadcast.ipv6.to_string());
        put(variable::BROADCAST_ADDRESS, &broadcast.multicast_address.to_string());
        let files = [
            (variable::TOKEN_FILE, token_file.map(PathBuf::as_path)),
            (variable::BROADCAST_KEY_FILE, broadcast.key_file.as_deref()),
        ];
        for (name, file) in files {
            if let Some(file) = file.filter(|file| !is_descriptor(file)) {
                put(name, &absolute_path(file).to_string_lossy());
            }
        }
        let token = self.token_for(registry_url);
        if let Some(token) = token.filter(|_| pass_token) {
            put(variable::TOKEN, token.expose());
        }
        if let Some(key) = broadcast.key.as_ref().filter(|_| pass_token) {
            put(variable::BROADCAST_KEY, key.expose());
        }
        if !broadcast.keys.is_empty() {
            put(variable::BROADCAST_KEYS, &json!(absolute(&broadcast.keys)).to_string());
        }
        if !broadcast.channels.is_empty() {
            let mut channels = broadcast.channels.clone();
            channels.iter_mut().for_each(|channel| channel.keys = absolute(&channel.keys));
            put(variable::BROADCAST_CHANNELS, &json!(channels).to_string());
        }
        variables
    }

    /// Returns the token for a registry: the one that is named for its URL, else the common one. Several servers of a
    /// registry have one token.
    pub(super) fn token_for(&self, urls: &str) -> Option<Secret> {
        let tokens = &self.settings().tokens;
        let named = |url: &str| {
            let url = normalized_url(url).ok()?;
            let is_url = |key: &str| normalized_url(key).is_ok_and(|key| key == url);
            tokens.iter().find(|(key, _)| is_url(key)).map(|(_, token)| token)
        };
        let named: Option<Vec<&Secret>> = urls.split(',').map(named).collect();
        match named.as_deref() {
            Some([first, rest @ ..]) if rest.iter().all(|other| other == first) => {
                Some((*first).clone())
            }
            _ => self.client_token().cloned(),
        }
    }

    /// Returns the token that clients send unless another one is named for the URL of a registry.
    pub(super) fn client_token(&self) -> Option<&Secret> {
        let Settings { token, client_token, .. } = self.settings();
        client_token.as_ref().or(token.as_ref())
    }

    /// Returns the file that a token comes from, if it can be read again.
    pub(super) fn file_of(&self, token: &Secret) -> Option<PathBuf> {
        let Settings { token: common, token_file, client_token, discovery, .. } = self.settings();
        let tokens = [(client_token, &discovery.token_file), (common, token_file)];
        let (_, file) = tokens.into_iter().find(|(known, _)| known.as_ref() == Some(token))?;
        file.clone().filter(|file| !is_descriptor(file))
    }
}

/// Reads the secrets that are not in the settings themselves.
pub(super) fn read_secrets(loaded: &mut Loaded<Settings>) -> Result<(), Failure> {
    let strength = |path: &str| loaded.origin(path).strength();
    let layers: BTreeMap<&str, u8> = ["token", "token_file", "broadcast.key", "broadcast.key_file"]
        .map(|path| (path, strength(path)))
        .into();
    let stronger = |one: &str, other: &str| match layers.get(one).cmp(&layers.get(other)) {
        Ordering::Equal => None,
        order => Some(order == Ordering::Greater),
    };
    let origins = ["token_file", "broadcast.key_file"].map(|path| loaded.origin(path));
    let before = (loaded.value.token.clone(), loaded.value.broadcast.key.clone());
    let read = loaded.value.read_secrets(stronger);
    read.map_err(|error| Failure::from_error(Exit::Usage, &error))?;
    // `config show` names where a secret comes from.
    let [token, key] = origins;
    if loaded.value.token != before.0 {
        loaded.origins.insert("token".to_owned(), token);
    }
    if loaded.value.broadcast.key != before.1 {
        loaded.origins.insert("broadcast.key".to_owned(), key);
    }
    Ok(())
}

/// Every user of this host can read the arguments of a process.
pub(super) fn secret_in_arguments(path: &str) -> Failure {
    let remedy = match path {
        "token" => "set PORTOLAN_TOKEN, or token_file to a file that only this user can read",
        "broadcast.key" => {
            "set PORTOLAN_BROADCAST_KEY, or broadcast.key_file to a file that only this user can read"
        }
        _ => "set it in the environment, or in a configuration file that only this user can read",
    };
    Failure::usage(format_args!(
        "--set {path}: secrets are not taken from arguments, which every user of this host can read"
    ))
    .remedy(remedy)
}

/// Returns the variables of this process that have a secret as their value. A program that is started does not inherit them.
pub(crate) fn withheld_variables() -> impl Iterator<Item = OsString> {
    let names = std::env::vars_os().map(|(name, _)| name);
    names.filter(|name| name.to_str().is_some_and(is_secret))
}

fn absolute_path(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
}

/// Returns the keys with absolute paths, because a child process may have another working directory.
fn absolute(keys: &[KeyFile]) -> Vec<KeyFile> {
    let file = |key: &KeyFile| std::path::absolute(&key.file).unwrap_or_else(|_| key.file.clone());
    keys.iter().map(|key| KeyFile { id: key.id.clone(), file: file(key) }).collect()
}
