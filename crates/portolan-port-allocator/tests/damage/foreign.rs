//! Something else in the place of a file.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use portolan_port_allocator::{Depth, PortAllocatorConfig, PortLease};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::{World, wish};
use crate::{ask, is_clear, only_file};

/// How long an answer may take before it counts as none.
const LIMIT: Duration = Duration::from_secs(60);
/// What is in a file elsewhere that a link leads to, and must still be there afterwards.
const ELSEWHERE: &[u8] = b"of great value\n";

/// What stands where a file should, and how it gets there.
type Foreign = (&'static str, fn(&Path));

const FOREIGN: [Foreign; 12] = [
    ("nothing at all", |path| fs::write(path, "").unwrap()),
    ("text", |path| fs::write(path, "nobody\nknows what\n").unwrap()),
    ("a program", |path| _ = fs::copy("/proc/self/exe", path).unwrap()),
    ("numbers of the same length", |path| fs::write(path, other_numbers(path)).unwrap()),
    ("a folder", |path| replace(path, |path| fs::create_dir(path).unwrap())),
    ("a pipe", |path| replace(path, make_pipe)),
    ("a socket", |path| replace(path, |path| drop(UnixListener::bind(path).unwrap()))),
    ("a link to a file", |path| replace(path, |path| symlink(elsewhere(path), path).unwrap())),
    ("a link to nothing", |path| replace(path, |path| symlink("/nowhere/at/all", path).unwrap())),
    ("a link to itself", |path| replace(path, |path| symlink(path, path).unwrap())),
    ("a second name", |path| {
        replace(path, |path| fs::hard_link(elsewhere(path), path).unwrap());
    }),
    ("a file for all", |path| fs::set_permissions(path, Permissions::from_mode(0o666)).unwrap()),
];

fn replace(path: &Path, make: impl FnOnce(&Path)) {
    fs::remove_file(path).unwrap();
    make(path);
}

fn make_pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// A file outside of the folder.
fn elsewhere(path: &Path) -> PathBuf {
    let elsewhere = path.parent().unwrap().with_file_name("elsewhere");
    fs::write(&elsewhere, ELSEWHERE).unwrap();
    fs::set_permissions(&elsewhere, Permissions::from_mode(0o600)).unwrap();
    elsewhere
}

fn other_numbers(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap().into_iter().map(|byte| !byte).collect()
}

/// Asks for ports, and gives up where there is no answer.
fn ask_in_time(what: &str, config: PortAllocatorConfig) -> Result<Vec<u16>, String> {
    let (answer, answered) = mpsc::channel();
    thread::spawn(move || answer.send(ask(config, true).map_err(|error| error.to_string())));
    answered.recv_timeout(LIMIT).unwrap_or_else(|error| panic!("{what}: {error}"))
}

fn expect_elsewhere_untouched(world: &World) {
    if let Ok(contents) = fs::read(world.folder.path().join("elsewhere")) {
        assert!(contents == ELSEWHERE, "{} was written to", contents.escape_ascii());
    }
}

#[test]
fn in_place_of_the_table_it_is_made_one_or_refused_with_the_remedy() {
    for (what, put) in FOREIGN {
        let world = World::with_ports(8);
        ask_in_time(what, world.config()).unwrap();
        let table = only_file(&world.config().runtime_dir.unwrap());
        put(&table);
        if let Err(error) = ask_in_time(what, world.config()) {
            assert!(is_clear(&error, &table), "{what}: {error}");
            assert!(error.contains("remove it"), "{what}: {error}");
        }
        expect_elsewhere_untouched(&world);
    }
}

#[test]
fn in_place_of_a_table_in_use_it_gives_no_port_away() {
    for (what, put) in FOREIGN {
        let world = World::with_ports(8);
        let allocator = world.allocator();
        let requests = [("one", Depth::Bound), ("two", Depth::Guarded)];
        let leases = allocator.request_all(requests.map(|(name, depth)| wish(name, depth)));
        let held: Vec<u16> = leases.as_ref().unwrap().iter().map(PortLease::port).collect();
        let table = only_file(&world.config().runtime_dir.unwrap());
        // A file that is cut off under its user's hands is the other modules' subject.
        let kept = table.with_extension("kept");
        fs::rename(&table, &kept).unwrap();
        fs::write(&table, fs::read(&kept).unwrap()).unwrap();
        fs::set_permissions(&table, Permissions::from_mode(0o600)).unwrap();
        put(&table);
        match ask_in_time(what, world.config()) {
            Ok(ports) => {
                assert!(ports.iter().all(|port| !held.contains(port)), "{what}: {ports:?}");
            }
            Err(error) => assert!(is_clear(&error, &table), "{what}: {error}"),
        }
        expect_elsewhere_untouched(&world);
    }
}

#[test]
fn in_place_of_the_last_ports_it_keeps_nobody_from_a_port() {
    for (what, put) in FOREIGN {
        let world = World::with_ports(8);
        ask_in_time(what, world.config()).unwrap();
        put(&only_file(&world.config().state_dir.unwrap()));
        for _ in 0..2 {
            let ports = ask_in_time(what, world.config()).unwrap();
            assert!(ports.iter().all(|port| world.ports().contains(port)), "{what}: {ports:?}");
        }
        // A second name of a file is that file, and the folder is this user's alone.
        if what != "a second name" {
            expect_elsewhere_untouched(&world);
        }
    }
}
