//! The keys of a channel: the first one signs, every one verifies, so that two are valid while a key is
//! replaced.

use super::{KeyFile, KeyProblem, SharedKey, file};
use crate::signature::{Signer, Unverified};

/// The keys. Without any, messages are neither signed nor verified.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keyring(Vec<Key>);

#[derive(Debug, Clone)]
struct Key {
    id: Option<String>,
    signer: Signer,
}

/// Why a message is not authentic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BadSignature {
    /// It is not signed.
    Missing,
    /// It is signed with a key of another id than all of these.
    UnknownKey { known: String },
    /// It was made with another key, or the message was changed.
    Wrong,
}

// === impl Keyring ===

impl Keyring {
    /// Creates the keyring of one key.
    pub(crate) fn of_key(key: &SharedKey, id: Option<String>) -> Self {
        Self(vec![Key { id, signer: Signer::new(key) }])
    }

    /// Reads the files. The error has the index of the entry.
    pub(crate) fn of_files(files: &[KeyFile]) -> Result<Self, (usize, KeyProblem)> {
        let mut keys: Vec<SharedKey> = Vec::new();
        for (index, KeyFile { file, .. }) in files.iter().enumerate() {
            let key = file::read(file).map_err(|problem| (index, problem))?;
            if keys.contains(&key) {
                return Err((index, KeyProblem::Duplicate("key")));
            }
            keys.push(key);
        }
        let named = files.iter().zip(&keys);
        let named = named.map(|(KeyFile { id, .. }, key)| Key {
            id: Some(id.clone()),
            signer: Signer::new(key),
        });
        Ok(Self(named.collect()))
    }

    /// Returns whether there is no key.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the signature of a message in canonical encoding, which has none itself, by the first key, if there is one. It must
    /// have the id of that key.
    pub(crate) fn signature(&self, canonical: &str) -> Option<String> {
        Some(self.0.first()?.signer.signature(canonical))
    }

    /// Returns the id of the key that signs.
    pub(crate) fn signing_id(&self) -> Option<&str> {
        self.0.first()?.id.as_deref()
    }

    /// Verifies the signature of a message. If both sides have ids, only the key with the id of the message counts.
    pub(crate) fn verify(&self, message: &Unverified) -> Result<(), BadSignature> {
        let Unverified { canonical, signature, key_id } = message;
        let theirs = key_id.as_deref();
        let fits = |key: &&Key| key.id.is_none() || theirs.is_none() || key.id.as_deref() == theirs;
        let mut candidates = self.0.iter().filter(fits).peekable();
        if candidates.peek().is_none() {
            return Err(BadSignature::UnknownKey { known: self.ids() });
        }
        match candidates.any(|key| key.signer.is_authentic(canonical, signature)) {
            true => Ok(()),
            false => Err(BadSignature::Wrong),
        }
    }

    fn ids(&self) -> String {
        let ids = self.0.iter().filter_map(|key| key.id.as_deref());
        ids.collect::<Vec<_>>().join(", ")
    }
}
