//! The file of sticky ports. Whatever it contains, an allowed port is granted.

#![no_main]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use portolan_core::PortRange;
use portolan_port_allocator::{
    AllocatorError, Depth, PortAllocator, PortAllocatorConfig, PortRequest,
};
use tempfile::TempDir;

/// Ports outside the ephemeral range.
const PORTS: PortRange = PortRange::known(21_010, 21_017);

thread_local! {
    static FOLDER: TempDir = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o700))
        .tempdir()
        .expect("a folder");
}

fuzz_target!(|data: &[u8]| FOLDER.with(|folder| {
    let folder = folder.path();
    fs::write(folder.join("ports.jsonl"), data).expect("room for a file");
    let first = granted(folder);
    // The recorded port survives the surrounding content.
    assert_eq!(granted(folder), first);
}));

fn granted(folder: &Path) -> Option<u16> {
    let config = PortAllocatorConfig {
        runtime_dir: Some(folder.to_owned()),
        state_dir: Some(folder.to_owned()),
        ..Default::default()
    };
    let allocator = PortAllocator::new(config).expect("an allocator");
    let request = PortRequest::new("fuzz".parse().expect("a name"));
    match allocator.request(request.range(PORTS).depth(Depth::Claimed).folder("/srv".into())) {
        Ok(lease) => {
            assert!(PORTS.contains(lease.port()));
            Some(lease.port())
        }
        Err(AllocatorError::NoPortsAvailable { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}
