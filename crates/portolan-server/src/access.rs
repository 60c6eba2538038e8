//! Access control of the registry: its token and its policies, which may change.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use portolan_access::{Identities, InvalidStoredAccess, stored_policies, stored_tokens};
use portolan_broadcast::FollowedSecret;
use portolan_core::{Remedy, Revision, Scope, Secret};
use portolan_http::{AccessControl, Authenticator};
use portolan_registry::{PolicySource, Registry, RegistryStatus, SettingsKey, SettingsRecord};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::secrets::is_descriptor;
use crate::server::check_token;
use crate::stack_access::StackAccess;
use crate::{ServerError, Settings};

mod policies;

use policies::{FollowedPolicies, StoredAccess};
pub use policies::{InvalidAccess, LoadedPolicies, read_policies};

/// How often the files are looked at: a change is in force within a second.
const LOOK: Duration = Duration::from_millis(500);
/// The same, while requests have tokens that are unknown: their clients may have read a file earlier.
const LOOK_FOR_UNKNOWN: Duration = Duration::from_millis(20);

/// Access control, and what it comes from.
#[derive(Debug)]
pub(crate) struct AccessSources {
    /// The address of the registry, which decides how strong a token must be.
    address: SocketAddr,
    /// The access of a stack, if nothing else is required.
    stack: Option<StackAccess>,
    /// Set once it runs.
    registry: OnceLock<Registry>,
    state: Mutex<State>,
    stored: Mutex<StoredAccess>,
    published: watch::Sender<Arc<AccessControl>>,
}

#[derive(Debug)]
struct State {
    token: Option<Secret>,
    token_file: Option<FollowedSecret>,
    policies: Option<PolicyState>,
    looked: Instant,
}

#[derive(Debug)]
enum PolicyState {
    File(FollowedPolicies),
    Stored,
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
        let (registry, state, stored) = (OnceLock::new(), Mutex::new(state), Mutex::default());
        let sources = Self { address, stack, registry, state, stored, published };
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

    /// Follows the policies and tokens in the store, until `stop`. They are used if the settings say so.
    pub(crate) async fn follow_store(self: Arc<Self>, registry: Registry, stop: CancellationToken) {
        let watch = |name| registry.settings().watch(SettingsKey { scope: Scope::default(), name });
        // A store that keeps no settings has no policies, which the settings were checked for.
        let (Ok(mut policies), Ok(mut tokens)) = (watch(stored_policies()), watch(stored_tokens()))
        else {
            return;
        };
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                record = policies.next() => match record {
                    Some(record) => self.store(record.as_deref(), StoredAccess::set_policies),
                    None => return,
                },
                record = tokens.next() => match record {
                    Some(record) => self.store(record.as_deref(), StoredAccess::set_tokens),
                    None => return,
                },
            }
        }
    }

    /// Uses a newer record from now on. If it is invalid, what was in force stays so.
    fn store(
        &self,
        record: Option<&SettingsRecord>,
        set: fn(&mut StoredAccess, Option<&SettingsRecord>) -> Result<(), InvalidStoredAccess>,
    ) {
        let version = record.map_or(0, SettingsRecord::version);
        if let Err(error) = set(&mut self.stored.lock(), record) {
            let error = error.with_remedy();
            error!(%error, version, "Stored access control not used, the former one stays in force");
            return;
        }
        let state = self.state.lock();
        let is_loaded = self.stored.lock().loaded().is_some();
        if is_loaded && matches!(state.policies, Some(PolicyState::Stored)) {
            info!(target: "audit", action = "policies", outcome = "success", "Policies of the store in force");
            self.publish(&state);
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
            | state.policies.as_mut().is_some_and(PolicyState::reload)
        {
            self.publish(&state);
        }
    }

    fn publish(&self, state: &State) {
        let since = self.registry.get().map_or(Revision(0), Registry::revision);
        let access = state.access(since, &self.stored.lock());
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
        let policies = settings.service_registry.policies.as_ref();
        let policies = policies.map(PolicyState::open).transpose()?;
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
    fn access(&self, since: Revision, stored: &StoredAccess) -> AccessControl {
        let token = self.token.as_ref().map(Secret::expose);
        let access = token.map_or_else(AccessControl::open, AccessControl::with_token);
        let loaded = match &self.policies {
            None => return access,
            Some(PolicyState::File(followed)) => {
                let LoadedPolicies { policies, tokens } = &followed.loaded;
                Some((policies, tokens))
            }
            Some(PolicyState::Stored) => stored.loaded(),
        };
        let Some((policies, tokens)) = loaded else { return access.with_identities_to_come() };
        access.with_identities(Identities::new(policies, tokens, since))
    }
}

// === impl PolicyState ===

impl PolicyState {
    fn open(source: &PolicySource) -> Result<Self, InvalidAccess> {
        Ok(match source {
            PolicySource::Store => Self::Stored,
            PolicySource::File(file) => Self::File(FollowedPolicies::read(file)?),
        })
    }

    /// Looks at the files. Returns whether other policies are in force.
    fn reload(&mut self) -> bool {
        match self {
            Self::File(followed) => followed.reload(),
            Self::Stored => false,
        }
    }
}
