//! The reservation table, which any process of the user can corrupt. An allocator repairs or refuses
//! such a table; it neither panics nor honours a lease without an owner.
//!
//! The input is a list of patches to an intact table; or, after `=`, the whole file.

#![no_main]

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use portolan_core::PortRange;
use portolan_port_allocator::{
    AllocatorError, BindAddress, Depth, PortAllocator, PortAllocatorConfig, PortRequest, PortState,
    RejectionReason,
};
use tempfile::TempDir;

/// Ports outside the ephemeral range.
const PORTS: PortRange = PortRange::known(21_000, 21_007);

// The layout of the file, so that most patches hit meaningful words.
const SESSIONS: u64 = 4096;
const SLOTS: u64 = SESSIONS + 8 * (1 << 14);
const LIMITS: u64 = SLOTS + 8 * (1 << 16);
/// The last ticket, and the rate limits of 4096 services and of the user.
const LIMIT_WORDS: u64 = 1 + 4096 + 1;
const RECORDS: u64 = (LIMITS + 8 * LIMIT_WORDS).next_multiple_of(4096);
const RECORD: u64 = 512;
const LENGTH: u64 = RECORDS + RECORD * (1 << 16);

thread_local! {
    static PLACE: Place = Place::new();
}

fuzz_target!(|data: &[u8]| PLACE.with(|place| place.run(data)));

/// A directory with one table.
struct Place {
    folder: TempDir,
    table: PathBuf,
    /// The bytes of an unused table, up to the records.
    intact: Vec<u8>,
}

/// Bytes and their offset.
struct Patch<'a> {
    /// Whether the patch is applied while a port is leased.
    late: bool,
    at: u64,
    bytes: &'a [u8],
}

// === impl Place ===

impl Place {
    fn new() -> Self {
        let ours = Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().permissions(ours).tempdir().expect("a folder");
        drop(allocator(folder.path()).expect("a new table"));
        let mut files = fs::read_dir(folder.path()).expect("a folder").flatten();
        let table = files.next().expect("the table").path();
        let mut intact = fs::read(&table).expect("the table");
        assert_eq!(intact.len() as u64, LENGTH, "the layout of the table has changed");
        intact.truncate(RECORDS as usize);
        Self { folder, table, intact }
    }

    fn run(&self, data: &[u8]) {
        let patches = patches(data);
        match data.strip_prefix(b"=") {
            Some(file) => self.write(file),
            None => self.patch(patches.iter().filter(|patch| !patch.late)),
        }
        if let Ok(allocator) = allocator(self.folder.path()) {
            let length = fs::metadata(&self.table).expect("the table").len();
            assert_eq!(length, LENGTH, "a damaged table was used");
            assert_eq!(allocator.holders(), [], "no session is alive");
            for depth in [Depth::Claimed, Depth::Bound] {
                hold(&allocator, depth, || {});
            }
            let late = || self.patch(patches.iter().filter(|patch| patch.late));
            hold_whatever_happens(&allocator, late);
        }
        self.restore();
    }

    fn write(&self, file: &[u8]) {
        let mut options = OpenOptions::new();
        let table = options.write(true).truncate(true).mode(0o600).open(&self.table);
        table.and_then(|table| table.write_all_at(file, 0)).expect("room for the table");
    }

    fn patch<'a>(&self, patches: impl Iterator<Item = &'a Patch<'a>>) {
        let table = OpenOptions::new().write(true).open(&self.table).expect("the table");
        for Patch { at, bytes, .. } in patches {
            table.write_all_at(bytes, *at).expect("room for a patch");
        }
    }

    /// Truncates the table, which no process has mapped now.
    fn restore(&self) {
        let table = OpenOptions::new().write(true).open(&self.table).expect("the table");
        table.set_len(RECORDS).expect("a table that can be truncated");
        table.write_all_at(&self.intact, 0).expect("room for the table");
        table.set_len(LENGTH).expect("room for the table");
    }
}

fn allocator(folder: &Path) -> Result<PortAllocator, AllocatorError> {
    PortAllocator::new(PortAllocatorConfig {
        runtime_dir: Some(folder.to_owned()),
        sticky: false,
        ..Default::default()
    })
}

fn request(name: &str, depth: Depth) -> PortRequest {
    let request = PortRequest::new(name.parse().expect("a name"));
    request.range(PORTS).depth(depth).address(BindAddress::LOOPBACK)
}

/// Checks that a port is granted as on a new table, listed with its name, and free afterwards.
fn hold(allocator: &PortAllocator, depth: Depth, meanwhile: impl FnOnce()) {
    let lease = match allocator.request(request("fuzz", depth)) {
        Ok(lease) => lease,
        Err(AllocatorError::NoPortsAvailable { candidates, .. }) => {
            let taken = |reason: &_| matches!(reason, RejectionReason::ForeignProcess(_));
            assert!(candidates.iter().all(|refusal| taken(&refusal.reason)), "{candidates:?}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    meanwhile();
    let port = lease.port();
    assert!(PORTS.contains(port));
    let holders = allocator.holders();
    assert_eq!(holders.len(), 1);
    assert_eq!((holders[0].port, holders[0].service.as_str()), (port, "fuzz"));
    assert_eq!(allocator.check(port).state, PortState::Leased);
    drop(lease);
    assert_eq!(allocator.holders(), []);
}

/// Corrupts the table while it is in use; the allocator must not panic.
fn hold_whatever_happens(allocator: &PortAllocator, damage: impl FnOnce()) {
    let lease = allocator.request(request("first", Depth::Claimed));
    damage();
    for holder in allocator.holders() {
        _ = holder.to_string();
    }
    for depth in [Depth::Guarded, Depth::Claimed] {
        _ = allocator.request(request("second", depth)).map(|lease| lease.leave_to_children());
    }
    _ = allocator.check(PORTS.start()).to_string();
    drop(lease);
}

/// Three bytes of offset, one byte of length, then the bytes.
fn patches(mut data: &[u8]) -> Vec<Patch<'_>> {
    let mut patches = Vec::new();
    while let [area, high, low, count, rest @ ..] = data {
        let (bytes, rest) = rest.split_at(rest.len().min(usize::from(*count)));
        let place = u64::from(u16::from_be_bytes([*high, *low]));
        let port = u64::from(PORTS.start()) + place % PORTS.count() as u64;
        let at = match area & 0x7f {
            b'h' => place % 16,
            b'e' => SESSIONS + 8 * (place % (1 << 14)),
            b's' => SLOTS + 8 * port,
            b'l' => LIMITS + 8 * (place % LIMIT_WORDS),
            b'r' => RECORDS + RECORD * port + place / 8 % RECORD,
            _ => place * RECORD,
        };
        patches.push(Patch { late: area & 0x80 != 0, at, bytes });
        data = rest;
    }
    patches
}
