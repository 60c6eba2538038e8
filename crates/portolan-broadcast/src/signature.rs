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
use crate::canonical::{CanonicalText, canonical, canonical_text};
use crate::keys::{BadSignature, Keyring};

/// The member that carries the signature.
pub(crate) const SIGNATURE: &str = "signature";

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

    /// Returns the signature of a message in canonical encoding, which has none itself, as hex.
    pub(crate) fn signature(&self, canonical: &str) -> String {
        hex::encode(&self.0.clone().chain_update(canonical).finalize().into_bytes())
    }

    /// Returns whether this is the signature of the message in canonical encoding; in constant time.
    pub(crate) fn is_authentic(&self, canonical: &str, signature: &[u8]) -> bool {
        self.0.clone().chain_update(canonical).verify_slice(signature).is_ok()
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(***)")
    }
}

/// A message whose signature is not verified yet.
#[derive(Debug)]
pub(crate) struct Unverified {
    /// The canonical encoding of the message without its signature.
    pub(crate) canonical: String,
    pub(crate) signature: [u8; 32],
    /// The id of the key that it is said to be signed with.
    pub(crate) key_id: Option<String>,
}

// === impl Unverified ===

impl Unverified {
    /// Reads a message by its text; `None` if that takes the tree.
    pub(crate) fn of_text(text: &str) -> Option<Result<Self, BadSignature>> {
        let CanonicalText { text: canonical, signature, key_id, .. } = canonical_text(text)?;
        let key_id = key_id.map(str::to_owned);
        Some(match signature {
            Some(signature) => hex::decode(signature)
                .map(|signature| Self { canonical, signature, key_id })
                .ok_or(BadSignature::Wrong),
            None => Err(BadSignature::Missing),
        })
    }

    /// Reads a message, and removes its signature.
    pub(crate) fn of_tree(message: &mut Map<String, Value>) -> Result<Self, BadSignature> {
        let signature = match message.remove(SIGNATURE) {
            Some(Value::String(signature)) => hex::decode(&signature).ok_or(BadSignature::Wrong)?,
            None | Some(Value::Null) => return Err(BadSignature::Missing),
            Some(_) => return Err(BadSignature::Wrong),
        };
        let key_id = message.get("key_id").and_then(Value::as_str).map(str::to_owned);
        Ok(Self { canonical: canonical(message), signature, key_id })
    }
}

#[cfg(test)]
mod tests;
