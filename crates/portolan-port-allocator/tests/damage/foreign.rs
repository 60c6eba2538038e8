//! Foreign files in the place of Portolan's.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use portolan_core::Remedy;
use portolan_port_allocator::{Depth, PortAllocatorConfig, PortLease};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::{TestEnv, request_for};
use crate::{ask, is_clear, only_file};

/// How long a request may take before it counts as hung.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The contents of a file outside of the directory, which must not change.
const ELSEWHERE: &[u8] = b"unrelated\n";

/// The name of a foreign file, and how to create it.
type Foreign = (&'static str, fn(&Path));

const FOREIGN: [Foreign; 12] = [
    ("an empty file", |path| fs::write(path, "").unwrap()),
    ("text", |path| fs::write(path, "some\ntext\n").unwrap()),
    ("a program", |path| _ = fs::copy("/proc/self/exe", path).unwrap()),
    ("other bytes of the same length", |path| fs::write(path, other_numbers(path)).unwrap()),
    ("a directory", |path| replace(path, |path| fs::create_dir(path).unwrap())),
    ("a FIFO", |path| replace(path, make_pipe)),
    ("a socket", |path| replace(path, |path| drop(UnixListener::bind(path).unwrap()))),
    ("a symbolic link to a file", |path| {
        replace(path, |path| symlink(elsewhere(path), path).unwrap());
    }),
    ("a dangling symbolic link", |path| {
        replace(path, |path| symlink("/nowhere/at/all", path).unwrap());
    }),
    ("a symbolic link to itself", |path| replace(path, |path| symlink(path, path).unwrap())),
    ("a hard link", |path| {
        replace(path, |path| fs::hard_link(elsewhere(path), path).unwrap());
    }),
    ("a file that all can write", |path| {
        fs::set_permissions(path, Permissions::from_mode(0o666)).unwrap();
    }),
];

fn replace(path: &Path, make: impl FnOnce(&Path)) {
    fs::remove_file(path).unwrap();
    make(path);
}

fn make_pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// A file outside of the directory.
fn elsewhere(path: &Path) -> PathBuf {
    let elsewhere = path.parent().unwrap().with_file_name("elsewhere");
    fs::write(&elsewhere, ELSEWHERE).unwrap();
    fs::set_permissions(&elsewhere, Permissions::from_mode(0o600)).unwrap();
    elsewhere
}

fn other_numbers(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap().into_iter().map(|byte| !byte).collect()
}

/// Requests ports, and fails after the timeout.
fn ask_in_time(what: &str, config: PortAllocatorConfig) -> Result<Vec<u16>, String> {
    let (answer, answered) = mpsc::sync_channel(1);
    thread::spawn(move || answer.send(ask(config, true).map_err(|error| error.with_remedy())));
    answered.recv_timeout(TIMEOUT).unwrap_or_else(|error| panic!("{what}: {error}"))
}

fn expect_elsewhere_untouched(env: &TestEnv) {
    if let Ok(contents) = fs::read(env.folder.path().join("elsewhere")) {
        assert!(contents == ELSEWHERE, "{} was written to", contents.escape_ascii());
    }
}

#[test]
fn foreign_file_as_table_is_rebuilt_or_refused_with_a_remedy() {
    for (what, put) in FOREIGN {
        let env = TestEnv::with_ports(8);
        ask_in_time(what, env.config()).unwrap();
        let table = only_file(&env.config().runtime_dir.unwrap());
        put(&table);
        if let Err(error) = ask_in_time(what, env.config()) {
            assert!(is_clear(&error, &table), "{what}: {error}");
            assert!(error.contains("remove it"), "{what}: {error}");
        }
        expect_elsewhere_untouched(&env);
    }
}

#[test]
fn foreign_file_in_place_of_a_table_in_use_grants_no_leased_port() {
    for (what, put) in FOREIGN {
        let env = TestEnv::with_ports(8);
        let allocator = env.allocator();
        let requests = [("one", Depth::Bound), ("two", Depth::Guarded)];
        let leases = allocator.request_all(requests.map(|(name, depth)| request_for(name, depth)));
        let held: Vec<u16> = leases.as_ref().unwrap().iter().map(PortLease::port).collect();
        let table = only_file(&env.config().runtime_dir.unwrap());
        // The other modules test files that are truncated while mapped.
        let kept = table.with_extension("kept");
        fs::rename(&table, &kept).unwrap();
        fs::write(&table, fs::read(&kept).unwrap()).unwrap();
        fs::set_permissions(&table, Permissions::from_mode(0o600)).unwrap();
        put(&table);
        match ask_in_time(what, env.config()) {
            Ok(ports) => {
                assert!(ports.iter().all(|port| !held.contains(port)), "{what}: {ports:?}");
            }
            Err(error) => assert!(is_clear(&error, &table), "{what}: {error}"),
        }
        expect_elsewhere_untouched(&env);
    }
}

#[test]
fn foreign_file_in_place_of_the_sticky_ports_denies_no_port() {
    for (what, put) in FOREIGN {
        let env = TestEnv::with_ports(8);
        ask_in_time(what, env.config()).unwrap();
        put(&only_file(&env.config().state_dir.unwrap()));
        for _ in 0..2 {
            let ports = ask_in_time(what, env.config()).unwrap();
            assert!(ports.iter().all(|port| env.ports().contains(port)), "{what}: {ports:?}");
        }
        // A hard link is the file itself, and only this user can create one in the directory.
        if what != "a hard link" {
            expect_elsewhere_untouched(&env);
        }
    }
}
