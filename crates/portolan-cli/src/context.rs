//! The settings in force, and constructors for the parts that they configure.

mod secrets;
mod stack;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use portolan_agent::HostReservations;
use portolan_broadcast::Broadcaster;
use portolan_client::{DiscoveryClient, DiscoveryClientBuilder, RegistryClient};
use portolan_config_manager::{Loaded, Origin};
use portolan_core::{Incarnation, Scope};
use portolan_metrics::Metrics;
use portolan_port_allocator::PortAllocator;
use portolan_server::{STACK_KEYS, Settings};
use portolan_supervisor::stack::scope_of_folder;
use serde_json::Value;

use crate::config_file::ConfigFile;
use crate::destinations;
use crate::exit::Failure;
use crate::global::Global;

pub(crate) use secrets::withheld_variables;
use secrets::{read_secrets, secret_in_arguments};

/// The settings in force, shared by every command.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) loaded: Loaded<Settings>,
    pub(crate) file: Option<PathBuf>,
    pub(crate) scope: Scope,
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    pub(crate) metrics: Metrics,
    set: Vec<String>,
    /// Whether this user names the strategies, so that unsigned ones count.
    names_strategies: bool,
    global: Global,
    source: Option<ConfigFile>,
}

// === impl Context ===

impl Context {
    /// Loads and validates the settings from the file, the environment and the flags.
    pub(crate) fn load(global: &Global, file: Option<PathBuf>) -> Result<Self, Failure> {
        let context = Self::load_unvalidated(global, file)?;
        context.validate()?;
        Ok(context)
    }

    /// Validates the settings. A failure names the file and line, the variable or the flag.
    pub(crate) fn validate(&self) -> Result<(), Failure> {
        self.settings().validate().map_err(|error| match self.loaded.origin(&error.path()) {
            Origin::Default => error.into(),
            origin => {
                let failure = Failure::from(error);
                Failure { message: format!("{origin}: {}", failure.message), ..failure }
            }
        })
    }

    /// Loads settings whose values may be invalid, for `doctor`, which reports invalid settings.
    pub(crate) fn load_unvalidated(
        global: &Global,
        file: Option<PathBuf>,
    ) -> Result<Self, Failure> {
        let file = ConfigFile::find(file.or_else(|| global.config.clone()))?;
        Self::load_layers(global, file, Value::Null)
    }

    /// Loads and validates the settings again, from the same file and with what requests have set.
    pub(crate) fn again(&self, requested: &Value) -> Result<Self, Failure> {
        let file = self.source.as_ref().map(ConfigFile::again).transpose()?;
        let context = Self::load_layers(&self.global, file, requested.clone())?;
        context.validate()?;
        Ok(context)
    }

    fn load_layers(
        global: &Global,
        file: Option<ConfigFile>,
        requested: Value,
    ) -> Result<Self, Failure> {
        let mut loader = Settings::loader([]).requested(requested);
        if let Some(ConfigFile { path, contents, .. }) = &file {
            loader = match contents {
                Some(contents) => loader.contents(path, contents.clone()),
                None => loader.file(path),
            };
        }
        for setting in &global.set {
            let (path, value) = setting.split_once('=').ok_or_else(|| {
                Failure::usage(format_args!(
                    "invalid --set {setting}: expected KEY=VALUE, such as discovery.retries=5"
                ))
            })?;
            if loader.is_secret(path) {
                return Err(secret_in_arguments(path));
            }
            loader = loader.flag("--set", path, value);
        }
        if let Some(url) = &global.registry {
            loader = loader.flag("--registry", "discovery.registry_url", url);
        }
        if let Some(scope) = &global.scope {
            loader = loader.flag("--scope", "scope", scope.as_str());
        }
        let mut loaded = loader.load().map_err(stack::with_hints)?;
        destinations::check(&loaded, file.as_ref())?;
        let names_strategies = destinations::names_strategies(&loaded, file.as_ref());
        read_secrets(&mut loaded)?;
        stack::interpolate_name(&mut loaded, file.as_ref())?;
        let source = file;
        let file = source.as_ref().map(|file| file.path.clone());
        let scope = effective_scope(&loaded, file.as_deref())?;
        let (metrics, set) = (Metrics::new(), global.set.clone());
        let Global { json, quiet, .. } = *global;
        let global = global.clone();
        Ok(Self {
            loaded,
            file,
            scope,
            json,
            quiet,
            metrics,
            set,
            names_strategies,
            global,
            source,
        })
    }

    /// Returns the options that give another `portolan` process the same settings.
    pub(crate) fn repeated_options(&self) -> Vec<OsString> {
        let file = self.file.iter().flat_map(|file| ["--config".into(), file.into()]);
        let set = self.set.iter().flat_map(|set| ["--set".into(), set.into()]);
        let scope = ["--scope".into(), self.scope.as_str().into()];
        file.chain(set).chain(scope).collect()
    }

    /// Returns the settings in force.
    pub(crate) fn settings(&self) -> &Settings {
        &self.loaded.value
    }

    /// Creates an allocator with its own session.
    pub(crate) fn allocator(&self) -> Result<PortAllocator, Failure> {
        let allocator = PortAllocator::new(self.settings().port_allocator.clone())?;
        Ok(allocator.with_metrics(self.metrics.clone()))
    }

    /// Joins the broadcast channel; `None` if it is disabled.
    pub(crate) async fn broadcaster(&self) -> Result<Option<Broadcaster>, Failure> {
        let config = self.settings().broadcast.clone();
        if !config.enabled {
            return Ok(None);
        }
        Ok(Some(Broadcaster::new(config, self.metrics.clone()).await?))
    }

    /// Joins the broadcast channel; a failure if it is disabled.
    pub(crate) async fn enabled_broadcaster(&self) -> Result<Broadcaster, Failure> {
        let disabled = || {
            Failure::usage("the broadcast channel is disabled")
                .remedy("set broadcast.enabled to true")
        };
        self.broadcaster().await?.ok_or_else(disabled)
    }

    /// Returns the URL of the registry that every command uses.
    pub(crate) fn registry_url(&self) -> String {
        self.discovery_builder().locate_registry()
    }

    /// Creates a registry client.
    pub(crate) fn registry(&self) -> Result<RegistryClient, Failure> {
        Ok(self.discovery_builder().registry_client()?)
    }

    /// Creates a registry client of the run that owns a registration.
    pub(crate) fn registry_as(
        &self,
        incarnation: Option<Incarnation>,
    ) -> Result<RegistryClient, Failure> {
        let client = self.registry()?;
        Ok(match incarnation {
            Some(incarnation) => client.with_incarnation(incarnation),
            None => client,
        })
    }

    /// Creates a registry client for this URL.
    pub(crate) fn registry_at(&self, url: String) -> Result<RegistryClient, Failure> {
        Ok(self.builder_at(url).registry_client()?)
    }

    /// Creates a discovery client.
    pub(crate) async fn discovery(&self) -> Result<DiscoveryClient, Failure> {
        let broadcaster = self.broadcaster().await?;
        build(self.discovery_builder(), broadcaster)
    }

    /// Creates a discovery client that remembers no results, for a caller that follows changes itself.
    #[cfg(feature = "full")]
    pub(crate) async fn uncached_discovery(&self) -> Result<DiscoveryClient, Failure> {
        let broadcaster = self.broadcaster().await?;
        build(self.without_cache(self.discovery_builder()), broadcaster)
    }

    /// Creates a discovery client for this registry and broadcast channel.
    pub(crate) fn discovery_at(
        &self,
        url: String,
        broadcaster: Option<Broadcaster>,
    ) -> Result<DiscoveryClient, Failure> {
        build(self.builder_at(url), broadcaster)
    }

    /// The same client without a cache, for a caller that follows changes itself.
    pub(crate) fn uncached_discovery_at(
        &self,
        url: String,
        broadcaster: Option<Broadcaster>,
    ) -> Result<DiscoveryClient, Failure> {
        build(self.without_cache(self.builder_at(url)), broadcaster)
    }

    fn without_cache(&self, builder: DiscoveryClientBuilder) -> DiscoveryClientBuilder {
        let mut discovery = self.settings().discovery.clone();
        discovery.cache.enabled = false;
        builder.config(discovery)
    }

    /// Returns whether the settings name a registry.
    pub(crate) fn names_registry(&self) -> bool {
        self.is_set("discovery.registry_url") || self.is_set("discovery.registry_urls")
    }

    /// Returns whether an answer by broadcast counts if the registry cannot be reached: it is signed, or there is no token
    /// that tells the registry from anybody else, or the user asks for it.
    pub(crate) fn trusts_broadcast(&self) -> bool {
        let Settings { broadcast, tokens, discovery, .. } = self.settings();
        let is_named = self.names_strategies
            && discovery.strategies.iter().any(|name| name.as_str() == "broadcast");
        broadcast.is_signed() || is_named || (self.client_token().is_none() && tokens.is_empty())
    }

    fn is_set(&self, key: &str) -> bool {
        self.loaded.origins.get(key).is_some_and(|origin| *origin != Origin::Default)
    }

    /// Returns the URLs of the registry's servers. A single URL in a flag or the environment replaces the list
    /// of a file.
    fn configured_registry(&self) -> String {
        let discovery = &self.settings().discovery;
        let origin = |key: &str| self.loaded.origins.get(key);
        let is_overridden = matches!(origin("discovery.registry_urls"), Some(Origin::File { .. }))
            && !matches!(
                origin("discovery.registry_url"),
                None | Some(Origin::Default | Origin::File { .. })
            );
        if is_overridden { discovery.registry_url.clone() } else { discovery.registry() }
    }

    /// Returns the builder of clients of this registry.
    fn builder_at(&self, url: String) -> DiscoveryClientBuilder {
        let builder = self.discovery_builder();
        match self.token_for(&url) {
            Some(token) => builder.token_file(self.file_of(&token)).token(token).registry_url(url),
            None => builder.registry_url(url),
        }
    }

    /// Creates the builder of discovery clients, which decides which registry they use.
    fn discovery_builder(&self) -> DiscoveryClientBuilder {
        let Settings { discovery, broadcast, port_allocator, .. } = self.settings();
        let mut builder = DiscoveryClient::builder()
            .config(discovery.clone())
            .broadcast(broadcast.clone())
            .scope(self.scope.clone())
            .metrics(self.metrics.clone())
            .pools(port_allocator.pools())
            .allow_unsigned(self.names_strategies)
            .reservations(
                HostReservations::new(port_allocator.clone())
                    .registry_user(discovery.registry_user.clone()),
            );
        if self.names_registry() {
            builder = builder.registry_url(self.configured_registry());
        }
        let token = match self.settings().tokens.is_empty() {
            true => self.client_token().cloned(),
            false => self.token_for(&builder.locate_registry()),
        };
        match token {
            Some(token) => builder.token_file(self.file_of(&token)).token(token),
            None => builder,
        }
    }
}

fn build(
    builder: DiscoveryClientBuilder,
    broadcaster: Option<Broadcaster>,
) -> Result<DiscoveryClient, Failure> {
    let builder = match broadcaster {
        Some(broadcaster) => builder.broadcaster(broadcaster),
        None => builder,
    };
    Ok(builder.build()?)
}

/// Returns the configured scope, or the name of the stack, or the scope of the directory of its file;
/// without a stack, `default`.
fn effective_scope(loaded: &Loaded<Settings>, file: Option<&Path>) -> Result<Scope, Failure> {
    if let Some(scope) = &loaded.value.scope {
        return Ok(scope.clone());
    }
    if let Some(name) = loaded.document.section("name")? {
        return Ok(name);
    }
    let is_stack = STACK_KEYS.into_iter().any(|key| loaded.document.origin(key).is_some());
    let directory = file.filter(|_| is_stack).map(directory_of).transpose()?;
    Ok(directory.as_deref().map(scope_of_folder).unwrap_or_default())
}

/// Returns the directory of a file, without symbolic links.
pub(crate) fn directory_of(file: &Path) -> Result<PathBuf, Failure> {
    let real = file
        .canonicalize()
        .map_err(|error| Failure::usage(format_args!("cannot read {}: {error}", file.display())))?;
    Ok(real.parent().unwrap_or(Path::new("/")).to_owned())
}
