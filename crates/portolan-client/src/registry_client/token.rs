//! The token of a client. It is read again from its file when a registry refuses it, so that a token can be replaced while
//! programs run.

use std::fmt;
use std::path::PathBuf;

use parking_lot::Mutex;
use portolan_broadcast::FollowedSecret;
use portolan_core::Secret;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::error::RegistryClientError;

/// The token of a client, which its clones share.
pub(super) struct Token(Mutex<State>);

struct State {
    header: Option<HeaderValue>,
    file: Option<FollowedSecret>,
}

// === impl Token ===

impl Token {
    /// Creates the token, of which the file has newer versions.
    pub(super) fn new(
        token: Option<&Secret>,
        file: Option<PathBuf>,
    ) -> Result<Self, RegistryClientError> {
        let header = token.map(header).transpose()?;
        Ok(Self(Mutex::new(State { header, file: file.map(FollowedSecret::new) })))
    }

    /// Whether there is one.
    pub(super) fn is_some(&self) -> bool {
        self.0.lock().header.is_some()
    }

    /// Puts the token into the headers of a request.
    pub(super) fn put(&self, headers: &mut HeaderMap) {
        if let Some(header) = self.0.lock().header.clone() {
            headers.insert(AUTHORIZATION, header);
        }
    }

    /// Puts a newer token into the headers of a request that was refused, and says whether there is one.
    pub(super) fn renew(&self, headers: &mut HeaderMap) -> bool {
        let mut state = self.0.lock();
        state.read();
        // Another request may have read it.
        let newer =
            state.header.clone().filter(|header| headers.get(AUTHORIZATION) != Some(header));
        newer.map(|header| headers.insert(AUTHORIZATION, header)).is_some()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

// === impl State ===

impl State {
    fn read(&mut self) {
        let Some(file) = &mut self.file else { return };
        let read = file.changed().map_err(|problem| problem.to_string());
        let read = read.and_then(|token| {
            token.as_ref().map(header).transpose().map_err(|error| error.to_string())
        });
        match read {
            Ok(Some(header)) if self.header.as_ref() != Some(&header) => {
                info!(file = %file.path().display(), "Token of the registry loaded again");
                self.header = Some(header);
            }
            Ok(_) => {}
            Err(problem) => warn!(%problem, "Changed token not used, the former one stays in use"),
        }
    }
}

fn header(token: &Secret) -> Result<HeaderValue, RegistryClientError> {
    let text = Zeroizing::new(format!("Bearer {}", token.expose()));
    let value = HeaderValue::from_str(&text);
    let mut value = value.map_err(|_| RegistryClientError::InvalidToken)?;
    value.set_sensitive(true);
    Ok(value)
}
