//! Damaged files, byte by byte, and foreign files in their place: the allocator grants no port that a living
//! owner holds, or returns an error that names the file and the remedy. It never panics, is never
//! killed by a signal, and never hangs.
//!
//! These tests do not know the names and the layout of the files: they list the directories, and damage the
//! bytes that are in use.

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

use support::{copy, request_for};

/// The services that request ports while a file is damaged.
const ASKING: [(&str, Depth); 4] = [
    ("service-1", Depth::Bound),
    ("service-2", Depth::Guarded),
    ("service-3", Depth::Claimed),
    ("service-4", Depth::Guarded),
];

/// Runs the role of a copy of this program; does nothing in the test run itself.
#[test]
fn child() {
    match copy::role().as_deref() {
        Some("breaker") => breaker::damage_and_ask(),
        Some("veteran") => table::outlive_the_table(),
        Some(role) => panic!("unknown role {role}"),
        None => {}
    }
}

/// Opens an allocator and requests ports, like a program that starts; lists all leases if `list` is set.
fn ask(config: PortAllocatorConfig, list: bool) -> Result<Vec<u16>, AllocatorError> {
    let allocator = PortAllocator::new(config)?;
    let leases =
        allocator.request_all(ASKING.map(|(service, depth)| request_for(service, depth)))?;
    if list {
        allocator.holders();
    }
    Ok(leases.iter().map(PortLease::port).collect())
}

/// The only file of a directory.
fn only_file(directory: &Path) -> PathBuf {
    let files: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

/// Whether an error names the file, followed by a remedy.
fn is_clear(error: &str, file: &Path) -> bool {
    let rest = error.split_once(&file.display().to_string());
    rest.is_some_and(|(_, rest)| rest.contains("; "))
}
