//! Binds each secret to its destination: a file that merely lies in the working directory does not decide where a secret
//! goes that comes from elsewhere, nor which file of this user is a secret.

use portolan_client::{DiscoveryConfig, normalized_url};
use portolan_config_manager::{Loaded, Origin};
use portolan_core::shell_word;
use portolan_server::Settings;
use portolan_server::secrets::{is_descriptor, is_passed};

use crate::config_file::ConfigFile;
use crate::context::directory_of;
use crate::exit::Failure;

/// Settings with a secret, and the settings that say where it goes.
struct Binding {
    what: &'static str,
    secrets: &'static [&'static str],
    destinations: &'static [&'static str],
}

const BINDINGS: [Binding; 4] = [
    Binding {
        what: "token",
        secrets: &["token", "token_file", "tokens", "discovery.token_file"],
        destinations: &[
            "discovery.registry_url",
            "discovery.registry_urls",
            "discovery.registry_user",
            // Whom the certificate of a registry may be signed by.
            "discovery.tls.ca",
            "discovery.dns.servers",
            "port_allocator.runtime_dir",
        ],
    },
    // A receiver of messages that were signed with a key can search for the key.
    Binding {
        what: "key of the broadcast channel",
        secrets: &["broadcast.key", "broadcast.key_file", "broadcast.keys"],
        destinations: &[
            "broadcast.peers",
            "broadcast.channels",
            "broadcast.keys",
            "broadcast.key_file",
        ],
    },
    Binding {
        what: "token of Consul",
        secrets: &["service_registry.consul.token_file"],
        destinations: &["service_registry.consul.url", "service_registry.consul.tls.ca"],
    },
    Binding {
        what: "password of etcd",
        secrets: &["service_registry.etcd.password_file"],
        destinations: &["service_registry.etcd.endpoints", "service_registry.etcd.tls.ca"],
    },
];

/// Fails if the configuration file of the working directory directs a secret that is not its own.
pub(crate) fn check(loaded: &Loaded<Settings>, file: Option<&ConfigFile>) -> Result<(), Failure> {
    let Some(file) = file.filter(|file| !file.may_direct_secrets()) else { return Ok(()) };
    for binding in &BINDINGS {
        let Some((secret, secret_origin)) = secret_from_elsewhere(loaded, binding) else {
            continue;
        };
        let directed = binding.destinations.iter().find_map(|path| {
            let origin = loaded.origins.get(*path).filter(|origin| is_of_file(origin))?;
            let is_in_force = *path != secret && !is_overridden(loaded, path);
            (is_in_force && !is_named_by_user(loaded, path)).then_some((path, origin))
        });
        if let Some((destination, origin)) = directed {
            let source = match &secret_origin {
                Origin::Default => "the credentials of the service".to_owned(),
                origin => origin.to_string(),
            };
            return Err(Failure::usage(format_args!(
                "{origin}: {destination}: a file of the working directory does not decide where the {} goes, which comes \
                 from {source}",
                binding.what
            ))
            .remedy(remedy(file, binding, destination)));
        }
    }
    check_files(&loaded.value, loaded, file)
}

/// Returns whether the strategies are named by who may direct the secrets. A file of the working directory would otherwise let
/// answers of anybody count although this user has a token or a key.
pub(crate) fn names_strategies(loaded: &Loaded<Settings>, file: Option<&ConfigFile>) -> bool {
    let origin = loaded.origin("discovery.strategies");
    if !is_of_file(&origin) {
        return origin != Origin::Default;
    }
    file.is_none_or(ConfigFile::may_direct_secrets)
        || BINDINGS.iter().all(|binding| secret_from_elsewhere(loaded, binding).is_none())
}

/// Returns the first secret of a binding that is not of the file.
fn secret_from_elsewhere(
    loaded: &Loaded<Settings>,
    binding: &Binding,
) -> Option<(&'static str, Origin)> {
    binding.secrets.iter().find_map(|path| {
        let origin = loaded.origin(path);
        (is_set(&loaded.value, path) && !is_of_file(&origin)).then_some((*path, origin))
    })
}

fn is_of_file(origin: &Origin) -> bool {
    matches!(origin, Origin::File { .. })
}

/// Fails if the file names a secret outside of its folder: it could send any file of this user.
fn check_files(
    settings: &Settings,
    loaded: &Loaded<Settings>,
    file: &ConfigFile,
) -> Result<(), Failure> {
    let folder = directory_of(&file.path)?;
    let broadcast = &settings.broadcast;
    let keys = broadcast.keys.iter().map(|key| ("broadcast.keys", key.file.as_path()));
    let of_channels = broadcast.channels.iter().flat_map(|channel| &channel.keys);
    let of_channels = of_channels.map(|key| ("broadcast.channels", key.file.as_path()));
    let registry = &settings.service_registry;
    let single = [
        ("token_file", settings.token_file.as_deref()),
        ("discovery.token_file", settings.discovery.token_file.as_deref()),
        ("broadcast.key_file", broadcast.key_file.as_deref()),
        ("discovery.tls.key", settings.discovery.tls.key.as_deref()),
        ("service_registry.tls.key", registry.tls.key.as_deref()),
        ("service_registry.consul.token_file", registry.consul.token_file.as_deref()),
        ("service_registry.consul.tls.key", registry.consul.tls.key.as_deref()),
        ("service_registry.etcd.password_file", registry.etcd.password_file.as_deref()),
        ("service_registry.etcd.tls.key", registry.etcd.tls.key.as_deref()),
        ("health.tls.key", settings.health.tls.key.as_deref()),
    ];
    let single = single.into_iter().filter_map(|(setting, file)| Some((setting, file?)));
    for (setting, secret) in single.chain(keys).chain(of_channels) {
        let origin = loaded.origin(setting);
        // A file that is missing is reported when it is read.
        let is_inside = secret.canonicalize().map_or(true, |real| real.starts_with(&folder));
        if is_of_file(&origin) && (is_descriptor(secret) || !is_inside) {
            return Err(Failure::usage(format_args!(
                "{origin}: {setting}: a file of the working directory does not use {}, which is outside of its folder",
                shell_word(secret)
            ))
            .remedy(format!("read the file, then run `portolan trust {}`", shell_word(&file.path))));
        }
    }
    Ok(())
}

fn is_set(settings: &Settings, path: &str) -> bool {
    let broadcast = &settings.broadcast;
    match path {
        "token" => {
            let passed = || settings.token_file.is_none() && is_passed("token");
            settings.token.is_some() || passed()
        }
        "token_file" => settings.token_file.is_some(),
        "tokens" => !settings.tokens.is_empty(),
        "discovery.token_file" => settings.discovery.token_file.is_some(),
        "broadcast.key" => {
            broadcast.key.is_some() || (!broadcast.is_signed() && is_passed("broadcast.key"))
        }
        "broadcast.key_file" => broadcast.key_file.is_some(),
        "broadcast.keys" => !broadcast.keys.is_empty(),
        "service_registry.consul.token_file" => {
            settings.service_registry.consul.token_file.is_some()
        }
        _ => settings.service_registry.etcd.password_file.is_some(),
    }
}

/// Whether a single URL of a stronger layer replaces the list of the file.
fn is_overridden(loaded: &Loaded<Settings>, destination: &str) -> bool {
    destination == "discovery.registry_urls"
        && loaded.origin("discovery.registry_url").strength() > 1
}

/// Whether the registries that the file names are the default one, or have a token that this user gave for their URLs.
fn is_named_by_user(loaded: &Loaded<Settings>, destination: &str) -> bool {
    let Settings { discovery, tokens, .. } = &loaded.value;
    let urls: Vec<&str> = match destination {
        "discovery.registry_url" => vec![&discovery.registry_url],
        "discovery.registry_urls" => discovery.registry_urls.iter().map(String::as_str).collect(),
        _ => return false,
    };
    let is_own = !matches!(loaded.origin("tokens"), Origin::File { .. });
    let names = |url: &str| {
        // The default directs nothing: the specification's example writes it down.
        normalized_url(url) == normalized_url(&DiscoveryConfig::default().registry_url)
            || (is_own && tokens.keys().any(|key| normalized_url(key) == normalized_url(url)))
    };
    urls.iter().flat_map(|urls| urls.split(',')).all(names)
}

fn remedy(file: &ConfigFile, binding: &Binding, destination: &str) -> String {
    let trust = format!("read the file, then run `portolan trust {}`", shell_word(&file.path));
    match binding.what {
        "token" if destination.starts_with("discovery.registry_url") => format!(
            "{trust}; or give the URL with --registry, or a token for it with PORTOLAN_TOKENS"
        ),
        _ => format!("{trust}; or set {destination} in the environment"),
    }
}
