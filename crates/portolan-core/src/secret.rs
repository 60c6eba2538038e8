//! Secrets: tokens and keys.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// A token or a key. It prints as `***`, and its memory is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

/// Returns whether users who are not meant to can read or change the file of a secret, by its permission bits and its owner. Root
/// gives a service its secret by the group, as Kubernetes does with `fsGroup`, and Debian with the group `ssl-cert`.
pub fn is_exposed(mode: u32, owner: u32) -> bool {
    let others = if owner == 0 { 0o037 } else { 0o077 };
    mode & others != 0
}

// === impl Secret ===

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Secret {
    /// Returns the secret.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Self(secret)
    }
}

impl From<&str> for Secret {
    fn from(secret: &str) -> Self {
        Self(secret.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_of_a_secret_is_for_its_owner_and_if_that_is_root_for_a_group() {
        assert!(
            [0o600, 0o400].into_iter().all(|mode| !is_exposed(mode, 1000) && !is_exposed(mode, 0))
        );
        assert!(is_exposed(0o640, 1000) && !is_exposed(0o640, 0) && !is_exposed(0o440, 0));
        assert!([0o604, 0o660, 0o644].into_iter().all(|mode| is_exposed(mode, 0)));
    }

    #[test]
    fn secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::from("hunter2")), "***");
        assert_eq!(Secret::from("hunter2").expose(), "hunter2");
    }
}
