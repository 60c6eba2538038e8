//! The signature of a message, computed here and nowhere else.
//!
//! It is the lowercase hex of HMAC-SHA256 over the canonical JSON of the message without its
//! member `signature`. What the other members mean is not looked at, so that a message of a
//! newer version verifies too.

use std::fmt::{self, Write as _};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value};
use sha2::Sha256;

use crate::SharedKey;
use crate::canonical::canonical;

/// The member that carries the signature.
const SIGNATURE: &str = "signature";

/// Signs and verifies with one key.
#[derive(Clone)]
pub(crate) struct Signer(Hmac<Sha256>);

/// Why a signature is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadSignature {
    /// There is none.
    Missing,
    /// It is not that of the key.
    Wrong,
}

// === impl Signer ===

impl Signer {
    pub(crate) fn new(key: &SharedKey) -> Self {
        let mac = Hmac::new_from_slice(key.expose().as_bytes());
        Self(mac.expect("HMAC takes a key of any length"))
    }

    /// Puts the signature into the message, in the place of any that is there.
    pub(crate) fn sign(&self, message: &mut Map<String, Value>) {
        message.remove(SIGNATURE);
        let code = self.mac(message).finalize().into_bytes();
        message.insert(SIGNATURE.to_owned(), Value::String(hex(&code)));
    }

    /// Takes the signature out of the message and checks it, in a time that tells nothing of the key.
    pub(crate) fn verify(&self, message: &mut Map<String, Value>) -> Result<(), BadSignature> {
        let signature = match message.remove(SIGNATURE) {
            Some(Value::String(signature)) => signature,
            None | Some(Value::Null) => return Err(BadSignature::Missing),
            Some(_) => return Err(BadSignature::Wrong),
        };
        let code = unhex(&signature).ok_or(BadSignature::Wrong)?;
        self.mac(message).verify_slice(&code).map_err(|_| BadSignature::Wrong)
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

/// Bytes as lowercase hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The 32 bytes of a signature; the specified spelling is lowercase, and there is no other.
fn unhex(text: &str) -> Option<[u8; 32]> {
    let lowercase = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if text.len() != 64 || !text.bytes().all(lowercase) {
        return None;
    }
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
