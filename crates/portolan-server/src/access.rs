//! Access control of the registry: the token of the settings, and the file of policies, which may change.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portolan_access::{
    AccessFileError, Identities, InvalidPolicies, Policies, TokenFile, read_policies_file,
};
use portolan_config_manager::{ConfigError, FileStamp, Loader};
use portolan_core::{Remedy, Revision, Secret};
use portolan_http::AccessControl;
use portolan_registry::{Registry, RegistryConfig, RegistryStatus};
use tokio::sync::watch;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::Settings;

/// How often the files are looked at: a change is in force within a second.
const LOOK: Duration = Duration::from_millis(500);

/// Why policies cannot be used. Retrying does not help before a file has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAccess {
    /// A file cannot be used.
    #[error("service_registry.policies: {0}")]
    File(#[from] AccessFileError),
    /// The file is not one of policies.
    #[error("service_registry.policies: {0}")]
    Syntax(#[from] ConfigError),
    /// The policies contradict each other.
    #[error("service_registry.policies: {place}: {problem}")]
    Policies {
        /// The file, with the line if it is known.
        place: String,
        /// What is wrong.
        problem: InvalidPolicies,
    },
}

/// Policies as a file has them.
#[derive(Debug, Clone)]
pub struct LoadedPolicies {
    /// The policies and identities.
    pub policies: Policies,
    /// The records of their tokens.
    pub tokens: TokenFile,
}

/// Reads the policies of the registry, as it does when it starts; `None` if it has none.
///
/// # Errors
///
/// A file cannot be used, or the policies are invalid.
pub fn read_policies(config: &RegistryConfig) -> Result<Option<LoadedPolicies>, InvalidAccess> {
    config.policies.as_deref().map(LoadedPolicies::read).transpose()
}

/// The sources of access control, and where it is published.
#[derive(Debug)]
pub(crate) struct AccessSources {
    token: Option<Secret>,
    file: Option<PathBuf>,
    loaded: Option<LoadedPolicies>,
    stamp: FileStamp,
    published: watch::Sender<Arc<AccessControl>>,
}

// === impl LoadedPolicies ===

impl LoadedPolicies {
    fn read(file: &Path) -> Result<Self, InvalidAccess> {
        let contents = read_policies_file(file)?;
        let loaded = Loader::<Policies>::new().contents(file, contents).load()?;
        loaded.value.validate().map_err(|problem| {
            let origin = loaded.origins.get(&problem.path()).map(ToString::to_string);
            let place = origin.unwrap_or_else(|| file.display().to_string());
            InvalidAccess::Policies { place, problem }
        })?;
        let tokens = TokenFile::read(&TokenFile::path_beside(file))?;
        Ok(Self { policies: loaded.value, tokens })
    }
}

// === impl AccessSources ===

impl AccessSources {
    /// Reads the policies and publishes what they permit.
    pub(crate) fn open(settings: &Settings) -> Result<Self, InvalidAccess> {
        let file = settings.service_registry.policies.clone();
        let stamp = stamp(file.as_deref());
        let loaded = read_policies(&settings.service_registry)?;
        let published = watch::Sender::default();
        let sources = Self { token: settings.token.clone(), file, loaded, stamp, published };
        sources.publish(Revision(0));
        Ok(sources)
    }

    /// Returns what is in force, now and later.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<AccessControl>> {
        self.published.subscribe()
    }

    /// Follows the files, until `stop`.
    pub(crate) async fn follow(mut self, registry: Registry, stop: CancellationToken) {
        if self.file.is_none() {
            return stop.cancelled().await;
        }
        let mut ticks = interval(LOOK);
        let mut is_loading = true;
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            // What a watch has seen from an earlier server may be less than it may see now.
            let is_loaded = is_loading && registry.status() != RegistryStatus::Loading;
            if self.reload() || is_loaded {
                self.publish(registry.revision());
                is_loading &= !is_loaded;
            }
        }
    }

    /// Reads the files if they have changed. If they are invalid, what was in force stays so.
    fn reload(&mut self) -> bool {
        let stamp = stamp(self.file.as_deref());
        if stamp == self.stamp {
            return false;
        }
        self.stamp = stamp;
        match self.file.as_deref().map(LoadedPolicies::read).transpose() {
            Ok(loaded) => {
                self.loaded = loaded;
                info!(target: "audit", action = "policies", outcome = "success", "Policies loaded again");
                true
            }
            Err(error) => {
                let error = error.with_remedy();
                warn!(%error, "Changed policies not used, the former ones stay in force");
                false
            }
        }
    }

    fn publish(&self, since: Revision) {
        let token = self.token.as_ref().map(Secret::expose);
        let access = token.map_or_else(AccessControl::open, AccessControl::with_token);
        let access = match &self.loaded {
            None => access,
            Some(LoadedPolicies { policies, tokens }) => {
                access.with_identities(Identities::new(policies, tokens, since))
            }
        };
        self.published.send_replace(Arc::new(access));
    }
}

fn stamp(file: Option<&Path>) -> FileStamp {
    let tokens = file.map(TokenFile::path_beside);
    FileStamp::of(file.into_iter().chain(tokens.as_deref()))
}

// === impl InvalidAccess ===

impl Remedy for InvalidAccess {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::File(error) => error.remedy(),
            Self::Syntax(error) => error.remedy(),
            Self::Policies { problem, .. } => problem.remedy(),
        }
    }
}
