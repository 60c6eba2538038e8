//! Damages a file and requests ports, repeatedly: in a process of its own, because access to a truncated
//! mapping can kill a process.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::{fs, process, thread};

use portolan_core::Remedy;
use portolan_port_allocator::PortAllocatorConfig;
use serde::{Deserialize, Serialize};

use crate::support::TestEnv;
use crate::support::copy::{Copy, argument, config, send};
use crate::{ASKING, ask, is_clear};

/// The unit in which a file is searched for contents.
pub(crate) const PAGE: u64 = 4096;
/// Leases are listed only in one of so many cases that damage an unused byte, because it takes long.
const LIST: usize = 64;
/// How long one case may take before it counts as hung.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A change of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Damage {
    /// None, for comparison.
    None,
    /// The file has this length.
    Length(u64),
    /// This byte has another value.
    Byte { offset: u64, value: u8 },
}

/// The task of a breaker process.
#[derive(Debug, Serialize, Deserialize)]
struct Task {
    file: PathBuf,
    sticky: bool,
    damages: PathBuf,
}

/// A result of a breaker process.
#[derive(Debug, Serialize, Deserialize)]
enum Report {
    Outcome(Damage, Result<Vec<u16>, String>),
    Done,
}

/// The contents of a file, without its empty pages.
pub(crate) struct Snapshot {
    length: u64,
    pages: Vec<(u64, Vec<u8>)>,
}

/// Applies each damage to the file, and asserts that no port in `held` is granted and each error is clear.
/// Returns the ports that were granted in each case, if any.
pub(crate) fn expect_no_harm(
    env: &TestEnv,
    file: &Path,
    damages: &[Damage],
    held: &[u16],
    sticky: bool,
) -> Vec<(Damage, Option<Vec<u16>>)> {
    let list = env.folder.path().join(format!("damages-{}", damages.len()));
    fs::write(&list, serde_json::to_vec(damages).unwrap()).unwrap();
    let task = Task { file: file.to_owned(), sticky, damages: list };
    let mut breaker = Copy::start_with(env, "breaker", serde_json::to_string(&task).unwrap());
    let mut outcomes = Vec::new();
    loop {
        let next = damages.get(outcomes.len());
        let report = breaker.receive_or_end().map(|said| serde_json::from_str(&said).unwrap());
        match report {
            Some(Report::Outcome(damage, Ok(ports))) => {
                expect_free(env, damage, &ports, held);
                outcomes.push((damage, Some(ports)));
            }
            Some(Report::Outcome(damage, Err(error))) => {
                assert!(is_clear(&error, file), "after {damage:?} this is not clear: {error}");
                outcomes.push((damage, None));
            }
            Some(Report::Done) => break,
            None => panic!("{:?} at {next:?}", breaker.process.wait()),
        }
    }
    assert_eq!(outcomes.len(), damages.len());
    breaker.end();
    outcomes
}

fn expect_free(env: &TestEnv, damage: Damage, ports: &[u16], held: &[u16]) {
    let different: BTreeSet<u16> = ports.iter().copied().collect();
    assert_eq!(different.len(), ASKING.len(), "one port twice after {damage:?}: {ports:?}");
    for port in different {
        assert!(!held.contains(&port), "{port} is leased and was granted after {damage:?}");
        assert!(env.ports().contains(&port), "{port} was granted after {damage:?}");
    }
}

/// The breaker process.
pub(crate) fn damage_and_ask() {
    let task: Task = serde_json::from_str(&argument()).unwrap();
    let damages: Vec<Damage> = serde_json::from_slice(&fs::read(&task.damages).unwrap()).unwrap();
    let config = PortAllocatorConfig { sticky: task.sticky, ..config() };
    let whole = Snapshot::read(&task.file);
    let done = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| watch(&done, damages.len()));
        for (index, damage) in damages.iter().enumerate() {
            damage.apply(&task.file);
            let list = !task.sticky && (index % LIST == 0 || whole.was_used(*damage));
            let outcome = ask(config.clone(), list).map_err(|error| error.with_remedy());
            whole.restore(&task.file, *damage);
            let outcome = outcome.map_err(|error| error.replace('\n', " | "));
            send(serde_json::to_string(&Report::Outcome(*damage, outcome)).unwrap());
            done.fetch_add(1, Relaxed);
        }
        send(serde_json::to_string(&Report::Done).unwrap());
    });
}

/// Aborts this process if a case takes too long.
fn watch(done: &AtomicUsize, all: usize) {
    const PAUSE: Duration = Duration::from_millis(100);
    let (mut seen, mut waited) = (0, Duration::ZERO);
    while seen < all {
        thread::sleep(PAUSE);
        let now = done.load(Relaxed);
        waited = if now == seen { waited + PAUSE } else { Duration::ZERO };
        seen = now;
        if waited > TIMEOUT {
            process::abort();
        }
    }
}

// === impl Damage ===

impl Damage {
    /// The damages of one byte: all bits inverted or cleared; if it was not 0, also each bit inverted, and
    /// the values one more and one less, as in other versions.
    pub(crate) fn all_of_byte(offset: u64, byte: u8) -> impl Iterator<Item = Self> {
        let close = [byte.wrapping_add(1), byte.wrapping_sub(1)];
        let close = (0..8).map(|bit| byte ^ 1 << bit).chain(close).filter(|_| byte != 0);
        let values: BTreeSet<u8> = [!byte, 0].into_iter().chain(close).collect();
        let values = values.into_iter().filter(move |value| *value != byte);
        values.map(move |value| Self::Byte { offset, value })
    }

    fn apply(self, path: &Path) {
        match self {
            Self::None => {}
            Self::Length(length) => open(path).set_len(length).unwrap(),
            Self::Byte { offset, value } => open(path).write_all_at(&[value], offset).unwrap(),
        }
    }
}

// === impl Snapshot ===

impl Snapshot {
    pub(crate) fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let pages = (0_u64..).step_by(PAGE as usize).zip(bytes.chunks(PAGE as usize));
        let used = pages.filter(|(_, page)| page.iter().any(|byte| *byte != 0));
        let pages = used.map(|(offset, page)| (offset, page.to_vec())).collect();
        Self { length: bytes.len() as u64, pages }
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The offsets of the pages that are not empty.
    pub(crate) fn used_pages(&self) -> impl Iterator<Item = u64> {
        self.pages.iter().map(|(offset, _)| *offset)
    }

    /// Every byte of these pages with its offset.
    pub(crate) fn used_bytes(&self) -> impl Iterator<Item = (u64, u8)> {
        self.pages.iter().flat_map(|(offset, page)| (*offset..).zip(page.iter().copied()))
    }

    /// Whether the damaged byte was not 0.
    fn was_used(&self, damage: Damage) -> bool {
        let Damage::Byte { offset, .. } = damage else { return false };
        let page = self.pages.iter().find(|(page, _)| *page == offset - offset % PAGE);
        page.is_some_and(|(_, bytes)| bytes[(offset % PAGE) as usize] != 0)
    }

    fn restore(&self, path: &Path, after: Damage) {
        let file = open(path);
        file.set_len(self.length).unwrap();
        if let Damage::Byte { offset, .. } = after {
            // For an empty page. The others are written below.
            file.write_all_at(&[0], offset).unwrap();
        }
        for (offset, page) in &self.pages {
            file.write_all_at(page, *offset).unwrap();
        }
    }
}

fn open(path: &Path) -> File {
    OpenOptions::new().write(true).open(path).unwrap()
}
