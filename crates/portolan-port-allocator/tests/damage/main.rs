//! Damaged files, byte by byte, and foreign ones in their place: whatever stands there, the allocator
//! grants no port that somebody living holds, or says which file is wrong and what to do about it. It
//! never panics, is never ended by a signal, and never hangs.
//!
//! What the files are called and how they are laid out is not known here: the folders are listed,
//! and what is in use of a file shows in its contents.

#![allow(clippy::unwrap_used, reason = "only tests are here")]

mod breaker;
mod foreign;
mod last_ports;
#[path = "../support/mod.rs"]
mod support;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use portolan_port_allocator::{
    AllocatorError, Depth, PortAllocator, PortAllocatorConfig, PortLease,
};

use support::{copy, wish};

/// The services that ask while a file is damaged.
const ASKING: [(&str, Depth); 4] = [
    ("service-1", Depth::Bound),
    ("service-2", Depth::Guarded),
    ("service-3", Depth::Claimed),
    ("service-4", Depth::Guarded),
];

/// What a copy does; nothing where this is the test run itself.
#[test]
fn child() {
    match copy::role().as_deref() {
        Some("breaker") => breaker::damage_and_ask(),
        Some("veteran") => table::outlive_the_table(),
        Some(role) => panic!("no role {role}"),
        None => {}
    }
}

/// Has an allocator opened and asked for ports, as a program that begins now does; and for all leases,
/// where it is to `look`.
fn ask(config: PortAllocatorConfig, look: bool) -> Result<Vec<u16>, AllocatorError> {
    let allocator = PortAllocator::new(config)?;
    let leases = allocator.request_all(ASKING.map(|(service, depth)| wish(service, depth)))?;
    if look {
        allocator.holders();
    }
    Ok(leases.iter().map(PortLease::port).collect())
}

/// The one file of a folder.
fn only_file(folder: &Path) -> PathBuf {
    let files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

/// Whether an error says which file is wrong, and after that what to do.
fn is_clear(error: &str, file: &Path) -> bool {
    let rest = error.split_once(&file.display().to_string());
    rest.is_some_and(|(_, rest)| rest.contains("; "))
}
