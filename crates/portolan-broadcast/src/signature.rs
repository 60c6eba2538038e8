//! The signature of a message.
//!
//! It is the lowercase hex of HMAC-SHA256 over the canonical JSON of the message without its
//! member `signature`. Unknown members are included, so that messages of newer versions can be verified.

use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use portolan_core::hex;
use serde_json::{Map, Value};
use sha2::Sha256;

use crate::SharedKey;
use crate::canonical::canonical;
use crate::keys::{BadSignature, Keyring};

/// The member that carries the signature.
const SIGNATURE: &str = "signature";

/// How the messages of a channel are signed.
#[derive(Debug, Clone)]
pub(crate) struct Signing {
    pub(crate) keys: Arc<Keyring>,
    /// Group and port of the channel, if it has a key.
    audience: Option<Arc<str>>,
}

/// Signs and verifies with one key.
#[derive(Clone)]
pub(crate) struct Signer(Hmac<Sha256>);

// === impl Signing ===

impl Signing {
    pub(crate) fn new(keys: Arc<Keyring>, audience: Option<Arc<str>>) -> Self {
        Self { keys, audience }
    }

    /// Returns whether the channel has no key.
    pub(crate) fn is_open(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns the id of the key that signs.
    pub(crate) fn key_id(&self) -> Option<&str> {
        self.keys.signing_id()
    }

    /// Returns what signed messages name as their channel.
    pub(crate) fn audience(&self) -> Option<&str> {
        self.audience.as_deref()
    }
}

// === impl Signer ===

impl Signer {
    pub(crate) fn new(key: &SharedKey) -> Self {
        let mac = Hmac::new_from_slice(key.expose().as_bytes());
        Self(mac.expect("HMAC takes a key of any length"))
    }

    /// Signs the message, replacing a signature that it has.
    pub(crate) fn sign(&self, message: &mut Map<String, Value>) {
        message.remove(SIGNATURE);
        let code = self.mac(message).finalize().into_bytes();
        message.insert(SIGNATURE.to_owned(), Value::String(hex::encode(&code)));
    }

    /// Returns whether this is the signature of the message, which has none itself; in constant time.
    pub(crate) fn is_authentic(&self, message: &Map<String, Value>, signature: &[u8]) -> bool {
        self.mac(message).verify_slice(signature).is_ok()
    }

    fn mac(&self, message: &Map<String, Value>) -> Hmac<Sha256> {
        self.0.clone().chain_update(canonical(message))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(***)")
    }
}

/// Removes the signature from the message and returns it.
pub(crate) fn take(message: &mut Map<String, Value>) -> Result<[u8; 32], BadSignature> {
    match message.remove(SIGNATURE) {
        Some(Value::String(signature)) => hex::decode(&signature).ok_or(BadSignature::Wrong),
        None | Some(Value::Null) => Err(BadSignature::Missing),
        Some(_) => Err(BadSignature::Wrong),
    }
}

#[cfg(test)]
mod tests;
