//! The keys of a channel while their files are replaced.
//!
//! Members of a channel see a new file at different moments. Until all of them have, a message may be signed with the former
//! keys or with the new ones, and both count.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use portolan_core::{FileStamp, Remedy};
use tokio::time::Instant;
use tracing::{error, info};

use super::{BadSignature, Keyring};
use crate::signature::Unverified;
use crate::{BroadcastConfig, BroadcastError};

/// How often the files are looked at.
pub(super) const LOOK: Duration = Duration::from_millis(500);
/// The same, while messages arrive that are signed with other keys.
const LOOK_FOR_OTHERS: Duration = Duration::from_millis(50);
/// How long the former keys count after the files have changed.
pub(super) const FORMER: Duration = Duration::from_millis(400);

/// The keys of a channel. They follow their files.
#[derive(Debug)]
pub(crate) struct FollowedKeys {
    config: BroadcastConfig,
    keys_of: Option<usize>,
    files: Vec<PathBuf>,
    /// Whether there is no key. Files never change that.
    is_empty: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    current: Arc<Keyring>,
    former: Option<(Arc<Keyring>, Instant)>,
    stamp: FileStamp,
    looked: Instant,
}

// === impl FollowedKeys ===

impl FollowedKeys {
    /// Reads the files.
    pub(crate) fn read(
        config: &BroadcastConfig,
        keys_of: Option<usize>,
    ) -> Result<Self, BroadcastError> {
        let files = config.key_files(keys_of);
        // Before the files are read, so that a change meanwhile is found later.
        let stamp = FileStamp::of(files.iter().map(PathBuf::as_path));
        let current = Arc::new(config.keyring(keys_of)?);
        let is_empty = current.is_empty();
        let state = State { current, former: None, stamp, looked: Instant::now() };
        Ok(Self { config: config.clone(), keys_of, files, is_empty, state: Mutex::new(state) })
    }

    /// Returns the keys of this moment.
    pub(crate) fn current(&self) -> Arc<Keyring> {
        let mut state = self.state.lock();
        self.look(&mut state, LOOK);
        Arc::clone(&state.current)
    }

    /// Returns whether there is no key.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Verifies the signature of a message, as [`Keyring::verify`] does.
    pub(crate) fn verify(&self, message: &Unverified) -> Result<(), BadSignature> {
        let mut state = self.state.lock();
        self.look(&mut state, LOOK);
        let by_current = state.current.verify(message);
        let Err(bad) = by_current else { return by_current };
        if self.look(&mut state, LOOK_FOR_OTHERS) && state.current.verify(message).is_ok() {
            return Ok(());
        }
        let former = state.former.as_ref().filter(|(_, since)| since.elapsed() < FORMER);
        former.and_then(|(keys, _)| keys.verify(message).ok()).ok_or(bad)
    }

    /// Reads the files again if they have changed, and says whether there are new keys.
    fn look(&self, state: &mut State, interval: Duration) -> bool {
        if self.files.is_empty() || state.looked.elapsed() < interval {
            return false;
        }
        state.looked = Instant::now();
        if !state.stamp.refresh(self.files.iter().map(PathBuf::as_path)) {
            return false;
        }
        match self.config.keyring(self.keys_of) {
            Ok(keys) => {
                info!("Keys of the broadcast channel loaded again");
                let former = std::mem::replace(&mut state.current, Arc::new(keys));
                state.former = Some((former, Instant::now()));
                true
            }
            Err(error) => {
                let error = error.with_remedy();
                error!(%error, "Changed keys not used, the former ones stay in use");
                false
            }
        }
    }
}
