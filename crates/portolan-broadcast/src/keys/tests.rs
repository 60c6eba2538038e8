use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::followed::{FORMER, LOOK};
use super::*;
use crate::BroadcastConfig;
use crate::signature::Unverified;

const KEY: &str = "2f7a9c0d41e6b8535c1f";

/// A directory of this test, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let path =
            std::env::temp_dir().join(format!("portolan-keys-{:016x}", rand::random::<u64>()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>, mode: u32) -> KeyFile {
        let file = self.0.join(name);
        fs::write(&file, contents).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        KeyFile { id: name.to_owned(), file }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn message() -> Map<String, Value> {
    json!({"type": "service_query"}).as_object().unwrap().clone()
}

/// The message as the keyring sends it.
fn sent(keys: &Keyring) -> Map<String, Value> {
    let mut message = message();
    if let Some(id) = keys.signing_id() {
        message.insert("key_id".into(), id.into());
    }
    let signature = keys.signature(&crate::canonical::canonical(&message)).unwrap();
    message.insert("signature".into(), signature.into());
    message
}

fn verified(keys: &Keyring, mut message: Map<String, Value>) -> Result<(), BadSignature> {
    keys.verify(&Unverified::of_tree(&mut message)?)
}

fn unverified(message: &Map<String, Value>) -> Unverified {
    Unverified::of_tree(&mut message.clone()).unwrap()
}

fn accepts(receiver: &Keyring, sender: &Keyring) -> bool {
    verified(receiver, sent(sender)).is_ok()
}

fn problem(key: &str) -> String {
    SharedKey::from(key).check().map_or_else(|problem| problem.to_string(), |()| "none".to_owned())
}

#[test]
fn key_must_have_sixteen_bytes_that_do_not_repeat() {
    for good in [KEY, "a key of the channel", "0123456789abcdef"] {
        assert_eq!(problem(good), "none", "{good}");
    }
    for (weak, expected) in [
        ("", "empty"),
        ("x", "1 bytes"),
        ("true", "4 bytes"),
        ("hunter2hunter2x", "15 bytes"),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "1 different"),
        ("passwordpassword", "7 different"),
        ("1234567812345678", "repeats its first 8 bytes"),
        ("correct-horse-correct-horse-", "repeats its first 14 bytes"),
        ("[a,b]", "begins with ["),
        ("{a: b, c: d, e: f, g: h}", "begins with {"),
        ("2f7a9c0d41e6b853\n5c1f", "line break"),
        (" 2f7a9c0d41e6b8535c1f", "space at one end"),
    ] {
        let found = problem(weak);
        assert!(found.contains(expected), "{weak:?}: {found}");
        assert!(weak.len() < 5 || !found.contains(weak), "the key itself is not shown: {found}");
    }
}

#[test]
fn keys_are_replaced_without_a_gap() {
    let directory = Directory::new();
    let old = directory.write("old", format!("{KEY}\n"), 0o600);
    let new = directory.write("new", "e5b1d07c93a2f846710d\r\n", 0o400);
    let ring = |files: &[&KeyFile]| {
        Keyring::of_files(&files.iter().map(|file| (*file).clone()).collect::<Vec<_>>()).unwrap()
    };
    // One host after the other: the new key verifies, then it signs, then the old one goes.
    let steps = [ring(&[&old]), ring(&[&old, &new]), ring(&[&new, &old]), ring(&[&new])];
    for (before, after) in steps.iter().zip(&steps[1..]) {
        for (one, other) in [(before, after), (after, before), (after, after)] {
            assert!(accepts(one, other), "{one:?} {other:?}");
        }
    }
    assert!(!accepts(&steps[0], &steps[3]) && !accepts(&steps[3], &steps[0]));
    // The short form has no id: every key is tried on its messages.
    let short = Keyring::of_key(&KEY.into(), None);
    assert!(accepts(&steps[2], &short) && accepts(&short, &steps[1]));
}

#[test]
fn unsigned_unknown_and_wrong_are_told_apart() {
    let keys = Keyring::of_key(&KEY.into(), Some("k1".to_owned()));
    let other =
        |id: &str| Keyring::of_key(&"another key of the channel".into(), Some(id.to_owned()));
    assert_eq!(verified(&keys, message()), Err(BadSignature::Missing));
    assert_eq!(verified(&keys, sent(&other("k1"))), Err(BadSignature::Wrong));
    let unknown = BadSignature::UnknownKey { known: "k1".to_owned() };
    assert_eq!(verified(&keys, sent(&other("k2"))), Err(unknown));
}

#[test]
fn file_that_others_can_read_is_refused_with_the_command_that_mends_it() {
    let directory = Directory::new();
    for mode in [0o644, 0o660, 0o604, 0o602, 0o610] {
        let file = directory.write("key", KEY, mode);
        let (index, problem) = Keyring::of_files(std::slice::from_ref(&file)).unwrap_err();
        assert_eq!(index, 0);
        assert!(problem.to_string().contains(&format!("mode {mode:04o}")), "{problem}");
        assert_eq!(problem.remedy(), format!("run `chmod 600 {}`", file.file.display()));
    }
}

#[test]
fn problem_of_a_file_names_it() {
    let directory = Directory::new();
    let absent = KeyFile { id: "absent".into(), file: directory.0.join("absent") };
    let folder = KeyFile { id: "folder".into(), file: directory.0.clone() };
    let device = KeyFile { id: "device".into(), file: Path::new("/dev/zero").to_owned() };
    for (file, expected) in [
        (absent, "cannot read the file"),
        (folder, "is not a file"),
        (device, "is not a file"),
        (directory.write("empty", "\n", 0o600), "is empty"),
        (directory.write("short", "hunter2\n", 0o600), "the key has 7 bytes"),
        (directory.write("binary", [0xff; 32], 0o600), "is not the file of a key or token"),
        (directory.write("large", "ab".repeat(4096), 0o600), "is not the file of a key or token"),
        (directory.write("lines", format!("{KEY}\n{KEY}\n"), 0o600), "line break"),
    ] {
        let (_, problem) = Keyring::of_files(std::slice::from_ref(&file)).unwrap_err();
        let text = problem.to_string();
        assert!(
            text.contains(expected) && text.contains(&file.file.display().to_string()),
            "{text}"
        );
    }
}

#[test]
fn one_key_in_two_files_is_refused() {
    let directory = Directory::new();
    let files = [directory.write("old", KEY, 0o600), directory.write("new", KEY, 0o600)];
    let (index, problem) = Keyring::of_files(&files).unwrap_err();
    assert_eq!((index, problem.to_string().contains("occurs twice")), (1, true));
}

#[tokio::test(start_paused = true)]
async fn replaced_key_is_used_and_the_former_one_counts_for_a_moment() {
    let directory = Directory::new();
    let write = |key: &str| {
        let KeyFile { file, .. } = directory.write("new", key, 0o600);
        fs::rename(file, directory.0.join("key")).unwrap();
    };
    write("4f1c0a97d2e86b35 the old key");
    let key_file = Some(directory.0.join("key"));
    let config = BroadcastConfig { key_file, ..BroadcastConfig::default() };
    let member = || FollowedKeys::read(&config, None).unwrap();
    let (one, two) = (member(), member());
    let old = sent(&one.current());
    write("be93d5708a1f642c the new key");
    tokio::time::advance(LOOK).await;
    let new = sent(&one.current());
    assert_ne!(old, new);
    assert!(one.verify(&unverified(&old)).is_ok(), "others may not have the new key yet");
    assert!(two.verify(&unverified(&new)).is_ok(), "it looks, because others have the new key");
    tokio::time::advance(FORMER).await;
    for member in [&one, &two] {
        assert!(member.verify(&unverified(&old)).is_err());
        assert!(member.verify(&unverified(&new)).is_ok());
    }
    write("short");
    tokio::time::advance(LOOK).await;
    assert_eq!(sent(&one.current()), new, "what cannot be used replaces nothing");
}
