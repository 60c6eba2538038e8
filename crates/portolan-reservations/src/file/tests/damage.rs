//! A table that is not what it should be, byte by byte: made anew where nobody uses it, refused with
//! what to do where somebody does, and never taken for whole.

use std::io::Write;
use std::sync::{Arc, Mutex};

use super::*;
use crate::{SessionId, State, Table};

/// A port whose slot says that somebody holds it.
const PORT: u16 = 80;

/// What is done to a table.
trait Damage: Fn(&File) {}

impl<D: Fn(&File)> Damage for D {}

fn flip(at: u64, bits: u8) -> impl Damage {
    move |file| {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ bits], at).unwrap();
    }
}

fn cut_off(length: u64) -> impl Damage {
    move |file| file.set_len(length).unwrap()
}

fn set_version(version: u64) -> impl Damage {
    move |file| file.write_all_at(&version.to_ne_bytes(), 8).unwrap()
}

/// A table in which a port is held that nobody holds, damaged. The file can be reached still.
fn damaged(folder: &Path, damage: impl Damage) -> (PathBuf, File) {
    let (path, file) = open(folder).unwrap();
    file.write_all_at(&[0xff; 8], bytes(SLOTS + usize::from(PORT))).unwrap();
    damage(&file);
    (path, file)
}

/// Opens the table of the folder, and tells how many warnings that gave.
fn open_and_count_warnings(folder: &Path) -> (Table, usize) {
    let log = Arc::new(Mutex::new(Vec::new()));
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || Log(writer.clone()))
        .with_ansi(false)
        .finish();
    let table = tracing::subscriber::with_default(subscriber, || Table::open(folder).unwrap());
    let log = String::from_utf8(log.lock().unwrap().clone()).unwrap();
    (table, log.matches("WARN").count())
}

struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Nobody uses the table: it is made anew, and says so once.
fn is_made_anew(what: &str, damage: impl Damage) {
    let folder = folder();
    damaged(folder.path(), damage);
    let (table, warnings) = open_and_count_warnings(folder.path());
    assert_eq!(warnings, 1, "{what}");
    assert_eq!(table.slot(PORT).state(), State::Free, "{what}: nothing in it was believed");
    table.check().unwrap();
    drop(table);
    assert_eq!(open_and_count_warnings(folder.path()).1, 0, "{what}");
}

/// Somebody uses the table: it is refused and left as it is, and made anew once nobody does.
fn refusal(what: &str, damage: impl Damage) -> TableError {
    let folder = folder();
    let user = Table::open(folder.path()).unwrap();
    user.open_session(1).unwrap();
    let (path, file) = damaged(folder.path(), damage);
    let before = contents(&file);
    let error = Table::open(folder.path()).unwrap_err();
    assert!(error.to_string().contains(path.to_str().unwrap()), "{what}: {error}");
    assert_eq!(contents(&file), before, "{what}: it was touched");
    let checked = user.check().unwrap_err();
    assert!(matches!(checked, TableError::Damaged { .. }), "{what}: {checked}");
    drop(user);
    let (table, warnings) = open_and_count_warnings(folder.path());
    assert_eq!((table.slot(PORT).state(), warnings), (State::Free, 1), "{what}: once it ended");
    error
}

/// How long the file is, and what comes first.
fn contents(file: &File) -> (u64, Vec<u8>) {
    let mut bytes = vec![0; PAGE as usize];
    let count = file.read_at(&mut bytes, 0).unwrap();
    bytes.truncate(count);
    (file.metadata().unwrap().len(), bytes)
}

/// Lengths within the header and the first page, and those around each end of a part and of a page near it.
fn lengths() -> impl Iterator<Item = u64> {
    let parts = [SESSIONS, SESSIONS_AGAIN, SLOTS, WITNESSES, COUNTS, RATES, RECORDS, WORDS];
    let ends = parts.map(bytes).into_iter();
    let pages = ends.flat_map(|end| [end, end / PAGE * PAGE, end.next_multiple_of(PAGE)]);
    let around = pages.flat_map(|end| [end - 8, end - 1, end, end + 1, end + 8, end + PAGE]);
    let mut lengths: Vec<u64> = (1..=64).chain((64..=PAGE).step_by(61)).chain(around).collect();
    lengths.sort_unstable();
    lengths.dedup();
    lengths.into_iter().filter(|length| *length != LENGTH)
}

#[test]
fn no_byte_of_the_header_can_be_another_one() {
    for at in 0..16 {
        for bits in [0x01, 0x80, 0xff] {
            let what = format!("byte {at} ^ {bits:#x}");
            is_made_anew(&what, flip(at, bits));
            let error = refusal(&what, flip(at, bits));
            assert!(error.to_string().contains("end the programs"), "{what}: {error}");
            let is_of_other_version = matches!(error, TableError::OtherVersion { .. });
            assert_eq!(is_of_other_version, at >= 8, "{what}: {error}");
        }
    }
}

#[test]
fn what_stands_beside_the_header_means_nothing() {
    let folder = folder();
    let (path, file) = open(folder.path()).unwrap();
    let table = Table::open(folder.path()).unwrap();
    for at in 16..PAGE {
        flip(at, 0xff)(&file);
        assert!(is_whole(&file).unwrap() && table.check().is_ok(), "byte {at}");
    }
    assert_eq!(open_and_count_warnings(folder.path()).1, 0);
    assert!(path.exists());
}

#[test]
fn a_table_of_no_other_length_is_used() {
    for length in lengths() {
        let what = format!("{length} bytes");
        let error = refusal(&what, cut_off(length));
        assert!(matches!(error, TableError::Damaged { .. }), "{what}: {error}");
        assert!(error.to_string().contains("damaged and in use; end the programs"), "{error}");
    }
}

#[test]
fn an_empty_file_is_a_table_that_is_still_to_be_made() {
    let folder = folder();
    let (_, file) = damaged(folder.path(), cut_off(0));
    assert_eq!(open_and_count_warnings(folder.path()).1, 0);
    assert!(is_whole(&file).unwrap());
}

#[test]
fn another_versions_table_is_made_anew_or_left_to_it() {
    let [_, ours] = HEADER;
    for version in [0, 1, 2, ours + 1, u64::MAX] {
        // Other versions have tables of other lengths too.
        for length in [16, PAGE, bytes(RECORDS), LENGTH, LENGTH + PAGE] {
            let what = format!("version {version} of {length} bytes");
            let damage = |file: &File| {
                set_version(version)(file);
                cut_off(length)(file);
            };
            is_made_anew(&what, damage);
            let error = refusal(&what, damage);
            let text = error.to_string();
            let versions = format!("it has layout {version}, and this version uses layout {ours}");
            assert!(text.contains("by another version of Portolan") && text.contains(&versions));
            assert!(text.contains("end the programs of the other version"), "{text}");
            assert!(matches!(error, TableError::OtherVersion { found, .. } if found == version));
        }
    }
}

#[test]
fn what_another_program_wrote_is_not_believed() {
    let texts: [&[u8]; 3] = [b"{\"ports\": []}", b"SQLite format 3\0", &[0xff; 4096]];
    for text in texts {
        let what = String::from_utf8_lossy(&text[..13]).into_owned();
        let damage = |file: &File| {
            file.set_len(0).unwrap();
            file.write_all_at(text, 0).unwrap();
        };
        is_made_anew(&what, damage);
        assert!(matches!(refusal(&what, damage), TableError::Damaged { .. }), "{what}");
    }
}

#[test]
fn epochs_and_slots_of_any_contents_are_held_by_nobody() {
    let folder = folder();
    let (_, file) = open(folder.path()).unwrap();
    let ends = bytes(SESSIONS)..bytes(RECORDS);
    file.write_all_at(&vec![0xaa; (ends.end - ends.start) as usize], ends.start).unwrap();
    let table = Table::open(folder.path()).unwrap();
    let own = table.open_session(1).unwrap();
    let is_alive = |session: SessionId| table.is_alive(session, Some(own));
    assert!((1..=u16::MAX).all(|port| !is_alive(table.slot(port).session())));
}
