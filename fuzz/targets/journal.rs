//! The journal of the store `memory`. Whatever is on the disk, the registry opens it or says what is damaged.
//!
//! The input is the lines without their checksums, which are added; or, after `=`, the file as it is.

#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use portolan_metrics::Metrics;
use portolan_registry::{RegistryConfig, open};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
}

fuzz_target!(|data: &[u8]| RUNTIME.with(|runtime| {
    let folder = TempDir::new().expect("a folder");
    let file = match data.strip_prefix(b"=") {
        Some(raw) => raw.to_vec(),
        None => data.split(|byte| *byte == b'\n').flat_map(line).collect(),
    };
    fs::write(folder.path().join("journal-00000001"), file).expect("the file");
    let config =
        RegistryConfig { data_dir: Some(folder.path().to_owned()), ..RegistryConfig::default() };
    let _entered = runtime.enter();
    match open(&config, Metrics::new()) {
        Ok(opened) => drop(opened),
        Err(error) => assert!(!error.to_string().chars().any(char::is_control), "{error}"),
    }
}));

fn line(value: &[u8]) -> Vec<u8> {
    let checksum = format!("{:08x} ", crc32fast::hash(value));
    [checksum.as_bytes(), value, b"\n"].concat()
}
