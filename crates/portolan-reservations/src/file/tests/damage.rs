//! Damaged tables, byte by byte: rebuilt if unused, refused if in use, and never used as they are.

use std::io::Write;
use std::sync::Arc;

use parking_lot::Mutex;
use portolan_core::Remedy;

use super::*;
use crate::{SessionId, State, Table};

/// A port whose slot says that a session holds it.
const PORT: u16 = 80;

/// A change of a table's file.
trait Damage: Fn(&File) {}

impl<D: Fn(&File)> Damage for D {}

fn flip(at: u64, bits: u8) -> impl Damage {
    move |file| {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ bits], at).unwrap();
    }
}

fn truncate(length: u64) -> impl Damage {
    move |file| file.set_len(length).unwrap()
}

fn set_version(version: u64) -> impl Damage {
    move |file| file.write_all_at(&version.to_ne_bytes(), 8).unwrap()
}

/// A damaged table whose slot of [`PORT`] is held, with its path and file.
fn damaged(directory: &Path, damage: impl Damage) -> (PathBuf, File) {
    let (path, file) = open(directory).unwrap();
    file.write_all_at(&[0xff; 8], bytes(SLOTS + usize::from(PORT))).unwrap();
    damage(&file);
    (path, file)
}

/// Opens the table of the directory, and counts the warnings.
fn open_and_count_warnings(directory: &Path) -> (Table, usize) {
    let log = Arc::new(Mutex::new(Vec::new()));
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || Log(writer.clone()))
        .with_ansi(false)
        .finish();
    let table = tracing::subscriber::with_default(subscriber, || Table::open(directory).unwrap());
    let log = String::from_utf8(log.lock().clone()).unwrap();
    (table, log.matches("WARN").count())
}

struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Asserts that an unused table is rebuilt, with one warning.
fn is_rebuilt(what: &str, damage: impl Damage) {
    let directory = directory();
    damaged(directory.path(), damage);
    let (table, warnings) = open_and_count_warnings(directory.path());
    assert_eq!(warnings, 1, "{what}");
    assert_eq!(table.slot(PORT).state(), State::Free, "{what}: its contents are discarded");
    table.check().unwrap();
    drop(table);
    assert_eq!(open_and_count_warnings(directory.path()).1, 0, "{what}");
}

/// Asserts that a table in use is refused and not changed, and rebuilt once it is unused.
fn rejection(what: &str, damage: impl Damage) -> TableError {
    let directory = directory();
    let user = Table::open(directory.path()).unwrap();
    user.open_session(1).unwrap();
    let (path, file) = damaged(directory.path(), damage);
    let before = contents(&file);
    let error = Table::open(directory.path()).unwrap_err();
    assert!(error.to_string().contains(path.to_str().unwrap()), "{what}: {error}");
    assert_eq!(contents(&file), before, "{what}: the file was changed");
    let checked = user.check().unwrap_err();
    assert!(matches!(checked, TableError::Damaged { .. }), "{what}: {checked}");
    drop(user);
    let (table, warnings) = open_and_count_warnings(directory.path());
    assert_eq!(
        (table.slot(PORT).state(), warnings),
        (State::Free, 1),
        "{what}: after its session ended"
    );
    error
}

/// The length of the file and its first page.
fn contents(file: &File) -> (u64, Vec<u8>) {
    let mut bytes = vec![0; PAGE as usize];
    let count = file.read_at(&mut bytes, 0).unwrap();
    bytes.truncate(count);
    (file.metadata().unwrap().len(), bytes)
}

/// Lengths within the first page, and around the ends of each part and of the nearest pages.
fn lengths() -> impl Iterator<Item = u64> {
    let parts = [SESSIONS, SLOTS, LAST_TICKET, RATES, RECORDS, WORDS];
    let ends = parts.map(bytes).into_iter();
    let pages = ends.flat_map(|end| [end, end / PAGE * PAGE, end.next_multiple_of(PAGE)]);
    let around = pages.flat_map(|end| [end - 8, end - 1, end, end + 1, end + 8, end + PAGE]);
    let mut lengths: Vec<u64> = (1..=64).chain((64..=PAGE).step_by(61)).chain(around).collect();
    lengths.sort_unstable();
    lengths.dedup();
    lengths.into_iter().filter(|length| *length != LENGTH)
}

#[test]
fn table_with_any_changed_header_byte_is_not_used() {
    for at in 0..16 {
        for bits in [0x01, 0x80, 0xff] {
            let what = format!("byte {at} ^ {bits:#x}");
            is_rebuilt(&what, flip(at, bits));
            let error = rejection(&what, flip(at, bits));
            assert!(error.with_remedy().contains("; end the programs"), "{what}: {error}");
            let is_of_other_version = matches!(error, TableError::OtherVersion { .. });
            assert_eq!(is_of_other_version, at >= 8, "{what}: {error}");
        }
    }
}

#[test]
fn rest_of_the_header_page_is_ignored() {
    let directory = directory();
    let (path, file) = open(directory.path()).unwrap();
    let table = Table::open(directory.path()).unwrap();
    for at in 16..PAGE {
        flip(at, 0xff)(&file);
        assert!(is_intact(&file).unwrap() && table.check().is_ok(), "byte {at}");
    }
    assert_eq!(open_and_count_warnings(directory.path()).1, 0);
    assert!(path.exists());
}

#[test]
fn table_of_another_length_is_not_used() {
    for length in lengths() {
        let what = format!("{length} bytes");
        let error = rejection(&what, truncate(length));
        assert!(matches!(error, TableError::Damaged { .. }), "{what}: {error}");
        assert!(error.with_remedy().contains("damaged and in use; end the programs"), "{error}");
    }
}

#[test]
fn empty_file_becomes_a_table_without_a_warning() {
    let directory = directory();
    let (_, file) = damaged(directory.path(), truncate(0));
    assert_eq!(open_and_count_warnings(directory.path()).1, 0);
    assert!(is_intact(&file).unwrap());
}

#[test]
fn table_of_another_version_is_rebuilt_if_unused_and_refused_otherwise() {
    let [_, ours] = HEADER;
    for version in [0, 1, 2, ours + 1, u64::MAX] {
        // Other versions may have other lengths.
        for length in [16, PAGE, bytes(RECORDS), LENGTH, LENGTH + PAGE] {
            let what = format!("version {version} of {length} bytes");
            let damage = |file: &File| {
                set_version(version)(file);
                truncate(length)(file);
            };
            is_rebuilt(&what, damage);
            let error = rejection(&what, damage);
            let text = error.with_remedy();
            let versions = format!("its layout is {version}, expected {ours}");
            assert!(text.contains("by another version of Portolan") && text.contains(&versions));
            assert!(text.contains("; end the programs of the other version"), "{text}");
            assert!(matches!(error, TableError::OtherVersion { found, .. } if found == version));
        }
    }
}

#[test]
fn file_of_another_program_is_rebuilt_if_unused_and_refused_otherwise() {
    let texts: [&[u8]; 3] = [b"{\"ports\": []}", b"SQLite format 3\0", &[0xff; 4096]];
    for text in texts {
        let what = String::from_utf8_lossy(&text[..13]).into_owned();
        let damage = |file: &File| {
            file.set_len(0).unwrap();
            file.write_all_at(text, 0).unwrap();
        };
        is_rebuilt(&what, damage);
        assert!(matches!(rejection(&what, damage), TableError::Damaged { .. }), "{what}");
    }
}

#[test]
fn arbitrary_epochs_and_slots_have_no_living_owner() {
    let directory = directory();
    let (_, file) = open(directory.path()).unwrap();
    let ends = bytes(SESSIONS)..bytes(RECORDS);
    file.write_all_at(&vec![0xaa; (ends.end - ends.start) as usize], ends.start).unwrap();
    let table = Table::open(directory.path()).unwrap();
    let own = table.open_session(1).unwrap();
    let is_alive = |session: SessionId| table.is_alive(session, Some(own));
    assert!((1..=u16::MAX).all(|port| !is_alive(table.slot(port).session())));
}
