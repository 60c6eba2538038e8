//! Which settings change while a server runs, and what applies them.

use std::net::SocketAddr;
use std::sync::Arc;

use portolan_config_manager::ConfigManager;
use portolan_config_manager::live::{Effect, SettingRule, SettingRules, Version, Veto};
use portolan_core::Remedy as _;
use portolan_http::HttpState;
use portolan_registry::{Registry, RegistryConfig};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::access::AccessSources;
use crate::flows::ImportSettings;
use crate::server::{allowed_hosts, check_token, client_limits};
use crate::transport::Transport;
use crate::{Settings, read_policies};

const fn live(path: &'static str, by: &'static str) -> SettingRule {
    SettingRule { path, effect: Effect::Live { by } }
}

const fn from_files(path: &'static str, by: &'static str) -> SettingRule {
    SettingRule { path, effect: Effect::LiveFromFiles { by } }
}

const fn restart(path: &'static str, reason: &'static str) -> SettingRule {
    SettingRule { path, effect: Effect::Restart { reason } }
}

/// Every setting that a running server can change. A setting that is in no row needs a restart.
#[rustfmt::skip]
pub const LIVE_SETTINGS: SettingRules = SettingRules(&[
    live("logging.level", "the log"),
    restart("logging.format", "the format of the log is the same from its first line to its last"),
    restart("logging.audit", "the audit log is open"),
    live("health", "health checks, which begin again"),
    from_files("health.tls", "health checks, which begin again"),
    from_files("token", "access control"),
    from_files("token_file", "access control"),
    from_files("tokens", "commands that start later"),
    from_files("service_registry.policies", "access control"),
    live("service_registry.clients", "the HTTP server"),
    live("service_registry.allowed_hosts", "the HTTP server"),
    live("service_registry.ttl_default", "registrations that come later"),
    live("service_registry.max_endpoints", "registrations that come later"),
    live("service_registry.cleanup_interval", "the store"),
    live("service_registry.mass_expiry", "the store"),
    restart("service_registry.listen_address", "the server listens at the former address"),
    restart("service_registry.storage_backend", "the store is open"),
    restart("service_registry.data_dir", "the store is open"),
    restart("service_registry.etcd", "the store is open"),
    restart("service_registry.consul", "the store is open"),
    from_files("service_registry.tls", "connections that come later"),
    live("service_registry.require_client_certificate", "connections that come later"),
    live("service_registry.import_broadcast", "the import of announcements"),
    live("service_registry.import_unsigned", "the import of announcements"),
    live("broadcast", "the import of announcements, which joins the channel again"),
    from_files("broadcast.channels", "the import of announcements, which joins the channels again"),
    from_files("broadcast.key", "the import of announcements, which joins the channel again"),
    from_files("broadcast.key_file", "the import of announcements, which joins the channel again"),
    from_files("broadcast.keys", "the import of announcements, which joins the channel again"),
    live("port_allocator", "commands that start later"),
    restart("port_allocator.runtime_dir", "the lease of the registry's port is in the former directory"),
    restart("port_allocator.state_dir", "the directory is open"),
    live("discovery", "commands that start later"),
]);

/// The settings that `portolan up` changes while it runs: those of its registry that the services of the stack do not share.
#[rustfmt::skip]
pub const LIVE_STACK_SETTINGS: SettingRules = SettingRules(&[
    live("logging.level", "the log"),
    restart("logging", "the log is open"),
    live("service_registry.clients", "the HTTP server"),
    live("service_registry.allowed_hosts", "the HTTP server"),
    live("service_registry.ttl_default", "registrations that come later"),
    live("service_registry.max_endpoints", "registrations that come later"),
    live("service_registry.cleanup_interval", "the store"),
    live("service_registry.mass_expiry", "the store"),
    from_files("service_registry.policies", "access control"),
    restart("health", "the services of the stack are checked as when they were started"),
    restart("broadcast", "the services of the stack are announced on the channel"),
    restart("port_allocator", "the services of the stack have their ports"),
]);

/// The parts of a server that follow the settings.
#[derive(Debug)]
pub(crate) struct LiveParts {
    pub(crate) access: Arc<AccessSources>,
    pub(crate) http: HttpState,
    pub(crate) registry: Registry,
    pub(crate) transport: Transport,
    pub(crate) publish: watch::Sender<Arc<Settings>>,
}

// === impl LiveParts ===

impl LiveParts {
    /// Applies each version of the settings until stopped.
    pub(crate) async fn follow(
        self,
        manager: Option<Arc<ConfigManager<Settings>>>,
        address: SocketAddr,
        stop: CancellationToken,
    ) {
        let Some(manager) = manager else { return stop.cancelled().await };
        manager.on_change("the registry", move |old, new| check(old, new, address));
        let mut versions = manager.follow();
        loop {
            tokio::select! {
                Ok(()) = versions.changed() => {
                    let version = Arc::clone(&versions.borrow_and_update());
                    self.apply(&version);
                }
                () = stop.cancelled() => return,
            }
        }
    }

    fn apply(&self, version: &Version<Settings>) {
        let settings = &version.loaded.value;
        let before = Arc::clone(&self.publish.borrow());
        if is_access_changed(&before, settings)
            && let Err(error) = self.access.replace(settings)
        {
            // It was checked a moment ago; the files have changed since.
            let error = error.with_remedy();
            error!(%error, "Access control not replaced, the former one stays in force");
        }
        let registry = &settings.service_registry;
        if is_tls_changed(&before.service_registry, registry)
            && let Err(error) = self.transport.replace(registry)
        {
            let error = error.with_remedy();
            error!(%error, "Certificates not replaced, the former ones stay in use");
        }
        self.http.replace(allowed_hosts(registry), client_limits(&registry.clients));
        if let Err(error) = self.registry.reconfigure(registry) {
            // It was checked with the other settings.
            let error = error.with_remedy();
            error!(%error, "Settings of the store not applied");
        }
        self.publish.send_replace(Arc::new(settings.clone()));
    }
}

fn is_access_changed(old: &Settings, new: &Settings) -> bool {
    let of = |settings: &Settings| {
        let Settings { token, token_file, service_registry, .. } = settings;
        (token.clone(), token_file.clone(), service_registry.policies.clone())
    };
    of(old) != of(new)
}

fn is_tls_changed(old: &RegistryConfig, new: &RegistryConfig) -> bool {
    let of = |config: &RegistryConfig| (config.tls.clone(), config.require_client_certificate);
    of(old) != of(new)
}

/// Checks what the settings name, as the server does when it starts.
fn check(old: &Settings, new: &Settings, address: SocketAddr) -> Result<(), Veto> {
    if old.requires_credentials() != new.requires_credentials() {
        return Err(Veto(
            "whether it requires credentials decides what it imports from the broadcast channel; restart it".to_owned(),
        ));
    }
    check_token(new.token.as_ref(), address).map_err(|error| Veto(error.with_remedy()))?;
    Transport::check_change(&old.service_registry, &new.service_registry)
        .map_err(|error| Veto(error.with_remedy()))?;
    read_policies(&new.service_registry).map_err(|error| Veto(error.with_remedy()))?;
    new.broadcast.check_files().map_err(|error| Veto(error.with_remedy()))?;
    let (before, import) = (ImportSettings::of(old, false), ImportSettings::of(new, false));
    // The former channel is not checked: it is in use.
    let checked = if before == import { Ok(()) } else { import.check() };
    checked.map_err(|error| Veto(error.with_remedy()))
}

#[cfg(test)]
mod behaviours;

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../docs/configuration.md");

    #[test]
    fn every_row_names_a_setting_and_is_in_the_documentation() {
        let defaults = serde_json::to_value(Settings::default()).unwrap();
        for SettingRule { path, effect } in LIVE_SETTINGS.0 {
            let pointer = format!("/{}", path.replace('.', "/"));
            assert!(defaults.pointer(&pointer).is_some(), "{path} is no setting");
            let (live, text) = match effect {
                Effect::Live { by } => ("yes", by),
                Effect::LiveFromFiles { by } => ("from files only", by),
                Effect::Restart { reason } => ("no", reason),
            };
            let row = format!("| `{path}` | {live} | {text} |");
            assert!(PAGE.contains(&row), "docs/configuration.md has no row {row}");
        }
    }

    #[test]
    fn registry_does_not_begin_or_cease_to_require_credentials() {
        let address = SocketAddr::from(([127, 0, 0, 1], 7000));
        let open = Settings::default();
        let token = |token: &str| Settings { token: Some(token.into()), ..Settings::default() };
        let (one, other) = (token("a token of sixteen bytes"), token("another of sixteen bytes"));
        assert!(check(&open, &one, address).is_err());
        assert!(check(&one, &open, address).is_err());
        check(&one, &other, address).unwrap();
        let outside = SocketAddr::from(([0, 0, 0, 0], 7000));
        assert!(check(&one, &token("short"), outside).unwrap_err().0.contains("5 bytes"));
    }
}
