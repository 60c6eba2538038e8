//! The files of tokens and keys.

#![no_main]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use libfuzzer_sys::fuzz_target;
use portolan_broadcast::{FollowedSecret, SharedKey, read_secret};
use tempfile::TempDir;

thread_local! {
    static FOLDER: TempDir = tempfile::tempdir().expect("a folder");
}

fuzz_target!(|data: &[u8]| FOLDER.with(|folder| {
    let file = folder.path().join("secret");
    fs::write(&file, data).expect("the file");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("its mode");
    let followed = FollowedSecret::new(&file).changed();
    match read_secret(&file) {
        Ok(secret) => {
            assert!(!secret.expose().is_empty() && secret.expose().len() <= data.len());
            assert!(followed.expect("the file is the same").as_ref() == Some(&secret));
            let shown = format!("{:?}", SharedKey::from(secret.clone()));
            assert!(secret.expose().len() < 8 || !shown.contains(secret.expose()));
        }
        Err(problem) => {
            let text = format!("{problem}: {}", problem.remedy());
            assert!(!text.chars().any(char::is_control), "{text}");
        }
    }
}));
