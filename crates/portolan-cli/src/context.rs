//! What every command works with: the settings in force, and the parts that they describe.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use portolan_broadcast::Broadcaster;
use portolan_client::environment::variable;
use portolan_client::{
    DiscoveryClient, RegistryClient, RegistryClientConfig, registry_on_this_host,
};
use portolan_config_manager::{ConfigError, Loaded, Origin};
use portolan_core::Scope;
use portolan_metrics::Metrics;
use portolan_port_allocator::PortAllocator;
use portolan_server::{STACK_KEYS, Settings};
use portolan_supervisor::stack::{StackFile, scope_of_folder};
use serde::de::DeserializeOwned;

use crate::cli::Global;
use crate::exit::Failure;

/// The file that is looked for where none is named.
const FILE: &str = "portolan.yaml";

/// What every command works with.
pub(crate) struct Context {
    pub(crate) loaded: Loaded<Settings>,
    pub(crate) file: Option<PathBuf>,
    pub(crate) scope: Scope,
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    pub(crate) metrics: Metrics,
    set: Vec<String>,
}

// === impl Context ===

impl Context {
    /// Reads the settings: the file, the environment, the flags.
    pub(crate) fn load(global: &Global, file: Option<PathBuf>) -> Result<Self, Failure> {
        let file = file.or_else(|| global.config.clone()).or_else(usual_file);
        let mut loader = Settings::loader(file.clone());
        for setting in &global.set {
            let (path, value) = setting.split_once('=').ok_or_else(|| {
                Failure::usage(format_args!(
                    "--set {setting}: write it as key=value, as in discovery.retries=5"
                ))
            })?;
            loader = loader.flag("--set", path, value);
        }
        if let Some(url) = &global.registry {
            loader = loader.flag("--registry", "discovery.registry_url", url);
        }
        if let Some(scope) = &global.scope {
            loader = loader.flag("--scope", "scope", scope.as_str());
        }
        let loaded = loader.load()?;
        let scope = scope_of(&loaded, file.as_deref())?;
        let (metrics, set) = (Metrics::new(), global.set.clone());
        let Global { json, quiet, .. } = *global;
        Ok(Self { loaded, file, scope, json, quiet, metrics, set })
    }

    /// The options that make another of our processes see the settings that we see.
    pub(crate) fn repeated_options(&self) -> Vec<OsString> {
        let file = self.file.iter().flat_map(|file| ["--config".into(), file.into()]);
        let set = self.set.iter().flat_map(|set| ["--set".into(), set.into()]);
        let scope = ["--scope".into(), self.scope.as_str().into()];
        file.chain(set).chain(scope).collect()
    }

    /// The settings in force.
    pub(crate) fn settings(&self) -> &Settings {
        &self.loaded.value
    }

    /// The stack that the file describes.
    pub(crate) fn stack(&self) -> Result<StackFile, ConfigError> {
        let document = &self.loaded.document;
        let name = section(&self.loaded, "name")?;
        let services = document.section("services")?.unwrap_or_default();
        let stack = StackFile { name, services };
        stack.validate().map_err(|error| {
            let (path, text) = (error.path(), error.to_string());
            let message = text.strip_prefix(&format!("{path}: ")).unwrap_or(&text);
            document.problem(&path, message)
        })?;
        Ok(stack)
    }

    /// An allocator with a session of its own.
    pub(crate) fn allocator(&self) -> Result<PortAllocator, Failure> {
        let allocator = PortAllocator::new(self.settings().port_allocator.clone())?;
        Ok(allocator.with_metrics(self.metrics.clone()))
    }

    /// The broadcast channel, unless it is switched off.
    pub(crate) async fn broadcaster(&self) -> Result<Option<Broadcaster>, Failure> {
        let config = self.settings().broadcast.clone();
        match config.enabled {
            true => Ok(Some(Broadcaster::new(config, self.metrics.clone()).await?)),
            false => Ok(None),
        }
    }

    /// Where the registry is: where the settings say, else where the one of this scope holds its
    /// port on this host, else where registries usually are.
    pub(crate) fn registry_url(&self) -> String {
        let usual = || self.settings().discovery.registry_url.clone();
        let origin = self.loaded.origins.get("discovery.registry_url");
        match origin {
            None | Some(Origin::Default) => {
                let allocator = self.allocator().ok();
                let scopes = [self.scope.clone(), Scope::default()];
                allocator.and_then(|a| registry_on_this_host(&a, &scopes)).unwrap_or_else(usual)
            }
            Some(_) => usual(),
        }
    }

    /// What a program that we start needs to know to find what we would find.
    pub(crate) fn environment(&self, registry_url: &str) -> BTreeMap<String, String> {
        let Settings { token, broadcast, .. } = self.settings();
        let mut variables = BTreeMap::new();
        let mut put = |name: &str, value: &str| variables.insert(name.to_owned(), value.to_owned());
        put(variable::SCOPE, self.scope.as_str());
        put(variable::REGISTRY_URL, registry_url);
        put(variable::BROADCAST_ENABLED, &broadcast.enabled.to_string());
        put(variable::BROADCAST_INTERFACE, &broadcast.interface);
        put(variable::BROADCAST_ADDRESS, &broadcast.multicast_address.to_string());
        if let Some(token) = token {
            put(variable::TOKEN, token);
        }
        if let Some(key) = &broadcast.key {
            put(variable::BROADCAST_KEY, key.expose());
        }
        variables
    }

    /// A client of the registry.
    pub(crate) fn registry(&self) -> Result<RegistryClient, Failure> {
        self.registry_at(self.registry_url())
    }

    /// A client of the registry at this address.
    pub(crate) fn registry_at(&self, url: String) -> Result<RegistryClient, Failure> {
        let token = self.settings().token.clone();
        let config = RegistryClientConfig { token, ..RegistryClientConfig::new(url) };
        Ok(RegistryClient::new(config)?)
    }

    /// A client of everything that can find a service.
    pub(crate) async fn discovery(&self) -> Result<DiscoveryClient, Failure> {
        let broadcaster = self.broadcaster().await?;
        self.discovery_at(self.registry_url(), broadcaster)
    }

    /// The same, over a registry and a channel that are known already.
    pub(crate) fn discovery_at(
        &self,
        url: String,
        broadcaster: Option<Broadcaster>,
    ) -> Result<DiscoveryClient, Failure> {
        let mut builder = DiscoveryClient::builder()
            .config(self.settings().discovery.clone())
            .broadcast(self.settings().broadcast.clone())
            .registry_url(url)
            .scope(self.scope.clone())
            .metrics(self.metrics.clone())
            .allocator(self.allocator()?);
        if let Some(token) = &self.settings().token {
            builder = builder.token(token.clone());
        }
        if let Some(broadcaster) = broadcaster {
            builder = builder.broadcaster(broadcaster);
        }
        Ok(builder.build()?)
    }
}

/// Its own word first, then the stack's name, then its folder; without a stack, `default`.
fn scope_of(loaded: &Loaded<Settings>, file: Option<&Path>) -> Result<Scope, Failure> {
    if let Some(scope) = &loaded.value.scope {
        return Ok(scope.clone());
    }
    if let Some(name) = section(loaded, "name")? {
        return Ok(name);
    }
    let is_stack = STACK_KEYS.into_iter().any(|key| loaded.document.origin(key).is_some());
    let folder = file.filter(|_| is_stack).map(folder_of).transpose()?;
    Ok(folder.as_deref().map(scope_of_folder).unwrap_or_default())
}

/// The folder of a file, as the system knows it, whatever path led to it.
pub(crate) fn folder_of(file: &Path) -> Result<PathBuf, Failure> {
    let real = file
        .canonicalize()
        .map_err(|error| Failure::usage(format_args!("cannot read {}: {error}", file.display())))?;
    Ok(real.parent().unwrap_or(Path::new("/")).to_owned())
}

fn section<T: DeserializeOwned>(
    loaded: &Loaded<Settings>,
    key: &str,
) -> Result<Option<T>, ConfigError> {
    loaded.document.section(key)
}

fn usual_file() -> Option<PathBuf> {
    let here = PathBuf::from(FILE);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config"));
    let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home);
    let own = config.map(|folder| folder.join("portolan").join(FILE));
    [Some(here), own].into_iter().flatten().find(|file| file.is_file())
}
