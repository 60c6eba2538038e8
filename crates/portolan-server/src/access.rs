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

#[derive(Debug)]
struct State {
    token: Option<Secret>,
    token_file: Option<FollowedSecret>,
    file: Option<PathBuf>,
    loaded: Option<LoadedPolicies>,
    stamp: FileStamp,
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

// === impl AccessSources ===

impl AccessSources {
    /// Reads the files and publishes what they permit.
    pub(crate) fn open(
        settings: &Settings,
        address: SocketAddr,
        stack: Option<StackAccess>,
    ) -> Result<Self, ServerError> {
        let token = settings.token.clone();
        check_token(token.as_ref(), address)?;
        // A descriptor can be read once only.
        let token_file = settings.token_file.clone().filter(|file| !is_descriptor(file));
        let token_file = token_file.map(FollowedSecret::new);
        let file = settings.service_registry.policies.clone();
        // Before the files are read, so that a change meanwhile is found later.
        let stamp = stamp(file.as_deref());
        let loaded = read_policies(&settings.service_registry)?;
        let state = State { token, token_file, file, loaded, stamp, looked: Instant::now() };
        let published = watch::Sender::default();
        let (registry, state) = (OnceLock::new(), Mutex::new(state));
        let sources = Self { address, stack, registry, state, published };
        sources.publish(&sources.state.lock());
        Ok(sources)
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
        if state.reload_token(self.address) | state.reload_policies() {
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
    /// Reads the token if its file has changed. A file that cannot be used replaces nothing.
    fn reload_token(&mut self, address: SocketAddr) -> bool {
        let Some(file) = &mut self.token_file else { return false };
        let changed = file.changed().map_err(|problem| format!("{problem}: {}", problem.remedy()));
        let checked = changed.and_then(|token| {
            let check = token.as_ref().map(|token| check_token(Some(token), address));
            check.transpose().map_err(|error| error.with_remedy()).map(|_| token)
        });
        match checked {
            Ok(Some(token)) if Some(&token) != self.token.as_ref() => {
                info!(file = %file.path().display(), "Token of the registry replaced");
                self.token = Some(token);
                true
            }
            Ok(_) => false,
            Err(problem) => {
                error!(problem, "Changed token not used, the former one stays in use");
                false
            }
        }
    }

    /// Reads the policies and tokens if their files have changed. If they are invalid, what was in force stays so.
    fn reload_policies(&mut self) -> bool {
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
                error!(%error, "Changed policies not used, the former ones stay in force");
                false
            }
        }
    }

    /// What is in force from this revision on.
    fn access(&self, since: Revision) -> AccessControl {
        let token = self.token.as_ref().map(Secret::expose);
        let access = token.map_or_else(AccessControl::open, AccessControl::with_token);
        match &self.loaded {
            None => access,
            Some(LoadedPolicies { policies, tokens }) => {
                access.with_identities(Identities::new(policies, tokens, since))
            }
        }
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
