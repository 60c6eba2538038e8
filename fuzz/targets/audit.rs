//! The audit log, which `portolan audit verify` reads. Nothing that is in its files makes it panic, and only a whole chain is verified.

#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use portolan_audit::verify;
use tempfile::TempDir;

thread_local! {
    static FOLDER: TempDir = tempfile::tempdir().expect("a folder");
}

// The input is the contents of files, between bytes that are no UTF-8.
fuzz_target!(|data: &[u8]| FOLDER.with(|folder| {
    let parts: Vec<&[u8]> = data.split(|byte| *byte == 0xff).take(4).collect();
    let files: Vec<_> = parts
        .iter()
        .enumerate()
        .map(|(number, part)| {
            let file = folder.path().join(number.to_string());
            fs::write(&file, part).expect("the file");
            file
        })
        .collect();
    match verify(&files).expect("the files can be read") {
        Ok(verified) => {
            let lines: usize =
                parts.iter().map(|part| part.split(|byte| *byte == b'\n').count()).sum();
            assert!(verified.records <= lines as u64, "{verified:?}");
        }
        Err(broken) => assert!(!broken.flaw.to_string().chars().any(char::is_control)),
    }
}));
