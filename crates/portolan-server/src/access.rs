//! Access control of the registry: its token and its policies, whose files may change.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use portolan_access::{
    AccessFileError, Identities, InvalidPolicies, Policies, TokenFile, read_policies_file,
};
use portolan_broadcast::FollowedSecret;
use portolan_config_manager::{ConfigError, Loader};
use portolan_core::{FileStamp, Remedy, Revision, Secret};
use portolan_http::{AccessControl, Authenticator};
use portolan_registry::{Registry, RegistryConfig, RegistryStatus};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::secrets::is_descriptor;
use crate::server::check_token;
use crate::stack_access::StackAccess;
use crate::{ServerError, Settings};

/// How often the files are looked at: a change is in force within a second.
const LOOK: Duration = Duration::from_millis(500);
/// The same, while requests have tokens that are unknown: their clients may have read a file earlier.
const LOOK_FOR_UNKNOWN: Duration = Duration::from_millis(20);

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

/// Access control, and the files that it comes from.
#[derive(Debug)]
pub(crate) struct AccessSources {
    /// The address of the registry, which decides how strong a token must be.
    address: SocketAddr,
    /// The access of a stack, if nothing else is required.
    stack: Option<StackAccess>,
    /// Set once it runs.
    registry: OnceLock<Registry>,
    state: Mutex<State>,
    published: watch::Sender<Arc<AccessControl>>,
}

/// Policies, and their files as they were when they were read.
#[derive(Debug)]
struct FollowedPolicies {
    files: [PathBuf; 2],
    stamp: FileStamp,
    loaded: LoadedPolicies,
}

#[derive(Debug)]
struct State {
    token: Option<Secret>,
    token_file: Option<FollowedSecret>,
    policies: Option<FollowedPolicies>,
    looked: Instant,
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

// === impl FollowedPolicies ===

impl FollowedPolicies {
    fn read(file: &Path) -> Result<Self, InvalidAccess> {
        let files = [file.to_owned(), TokenFile::path_beside(file)];
        // Before the files are read, so that a change meanwhile is found later.
        let stamp = FileStamp::of(files.iter().map(PathBuf::as_path));
        Ok(Self { stamp, loaded: LoadedPolicies::read(file)?, files })
    }

    /// Reads the policies and tokens if their files have changed. If they are invalid, what was in force stays so.
    fn reload(&mut self) -> bool {
        if !self.stamp.refresh(self.files.iter().map(PathBuf::as_path)) {
            return false;
        }
        match LoadedPolicies::read(&self.files[0]) {
            Ok(loaded) => {
                self.loaded = loaded;
                info!(target: "audit", action = "policies", outcome = "success", "Policies loaded again");
                true
            }
            Err(error) => {
                let error = error.with_remedy();
                error!(%error, "Changed policies not used, the former ones stay in force");
                false
            }
        }
    }
}

// === impl AccessSources ===

impl AccessSources {
    /// Reads the files and publishes what they permit.
    pub(crate) fn open(
        settings: &Settings,
        address: SocketAddr,
        stack: Option<StackAccess>,
    ) -> Result<Self, ServerError> {
        let state = State::from_settings(settings, address)?;
        let published = watch::Sender::default();
        let (registry, state) = (OnceLock::new(), Mutex::new(state));
        let sources = Self { address, stack, registry, state, published };
        sources.publish(&sources.state.lock());
        Ok(sources)
    }

    /// Uses the token and the policies of these settings from now on. If they cannot be used, what was in force stays so.
    pub(crate) fn replace(&self, settings: &Settings) -> Result<(), ServerError> {
        let replaced = State::from_settings(settings, self.address)?;
        let mut state = self.state.lock();
        *state = replaced;
        self.publish(&state);
        Ok(())
    }

    /// Returns what identifies clients by what is in force at each moment.
    pub(crate) fn authenticator(self: &Arc<Self>) -> Authenticator {
        let sources = Arc::clone(self);
        Authenticator::following(self.published.subscribe())
            .on_unknown_token(move || sources.look(LOOK_FOR_UNKNOWN))
    }

    /// Follows the files, until `stop`.
    pub(crate) async fn follow(self: Arc<Self>, registry: Registry, stop: CancellationToken) {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let registry = self.registry.get_or_init(|| registry);
        let mut is_loading = true;
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.look(LOOK / 2);
            // What a watch has seen from an earlier server may be less than it may see now.
            if is_loading && registry.status() != RegistryStatus::Loading {
                is_loading = false;
                self.publish(&self.state.lock());
            }
        }
    }

    /// Looks at the files, unless that was done within the interval.
    fn look(&self, interval: Duration) {
        let mut state = self.state.lock();
        if state.looked.elapsed() < interval {
            return;
        }
        state.looked = Instant::now();
        if state.reload_token(self.address)
            | state.policies.as_mut().is_some_and(FollowedPolicies::reload)
        {
            self.publish(&state);
        }
    }

    fn publish(&self, state: &State) {
        let since = self.registry.get().map_or(Revision(0), Registry::revision);
        let access = state.access(since);
        let access = match &self.stack {
            Some(stack) if access.is_open() => access.with_identities(stack.identities()),
            _ => access,
        };
        self.published.send_replace(Arc::new(access));
    }
}

// === impl State ===

impl State {
    fn from_settings(settings: &Settings, address: SocketAddr) -> Result<Self, ServerError> {
        let token = settings.token.clone();
        check_token(token.as_ref(), address)?;
        // A descriptor can be read once only.
        let token_file = settings.token_file.clone().filter(|file| !is_descriptor(file));
        let token_file = token_file.map(FollowedSecret::new);
        let policies = settings.service_registry.policies.as_deref();
        let policies = policies.map(FollowedPolicies::read).transpose()?;
        Ok(Self { token, token_file, policies, looked: Instant::now() })
    }

    /// Reads the token if its file has changed. A file that cannot be used replaces nothing.
    fn reload_token(&mut self, address: SocketAddr) -> bool {
        let Some(file) = &mut self.token_file else { return false };
        let checked = match file.changed() {
            Ok(Some(token)) if Some(&token) != self.token.as_ref() => {
                let check = check_token(Some(&token), address);
                check.map(|()| token).map_err(|error| error.with_remedy())
            }
            Ok(_) => return false,
            Err(problem) => Err(format!("{problem}: {}", problem.remedy())),
        };
        match checked {
            Ok(token) => {
                info!(file = %file.path().display(), "Token of the registry replaced");
                self.token = Some(token);
                true
            }
            Err(problem) => {
                error!(problem, "Changed token not used, the former one stays in use");
                false
            }
        }
    }

    /// What is in force from this revision on.
    fn access(&self, since: Revision) -> AccessControl {
        let token = self.token.as_ref().map(Secret::expose);
        let access = token.map_or_else(AccessControl::open, AccessControl::with_token);
        match &self.policies {
            None => access,
            Some(FollowedPolicies { loaded: LoadedPolicies { policies, tokens }, .. }) => {
                access.with_identities(Identities::new(policies, tokens, since))
            }
        }
    }
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
