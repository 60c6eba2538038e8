//! Damages a file and asks for ports, again and again: in a process of its own, because a file that
//! is mapped and cut off can end a process.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::{fs, process, thread};

use portolan_port_allocator::PortAllocatorConfig;
use serde::{Deserialize, Serialize};

use crate::support::World;
use crate::support::copy::{Copy, argument, config, say};
use crate::{ASKING, ask, is_clear};

/// What is taken for a whole when a file is looked through.
pub(crate) const PAGE: u64 = 4096;
/// Where nothing was told before, whoever lists the leases comes by only so often: it takes long.
const LOOK: usize = 64;
/// How long one case may take before it counts as hung.
const LIMIT: Duration = Duration::from_secs(60);

/// Something done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Damage {
    /// Nothing, for comparison.
    None,
    /// It is as long as this, and no longer or shorter.
    Length(u64),
    /// This byte is another one.
    Byte { offset: u64, value: u8 },
}

/// What a breaker is to do.
#[derive(Debug, Serialize, Deserialize)]
struct Task {
    file: PathBuf,
    sticky: bool,
    damages: PathBuf,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
enum Report {
    Outcome(Damage, Result<Vec<u16>, String>),
    Done,
}

/// A file as it was, without the pages that hold nothing.
pub(crate) struct Snapshot {
    length: u64,
    pages: Vec<(u64, Vec<u8>)>,
}

/// Has every damage done to the file, and asserts that nobody gets a port that is `held`, and that
/// each error is clear. Returns which ports were granted in each case, where any were.
pub(crate) fn expect_no_harm(
    world: &World,
    file: &Path,
    damages: &[Damage],
    held: &[u16],
    sticky: bool,
) -> Vec<(Damage, Option<Vec<u16>>)> {
    let list = world.folder.path().join(format!("damages-{}", damages.len()));
    fs::write(&list, serde_json::to_vec(damages).unwrap()).unwrap();
    let task = Task { file: file.to_owned(), sticky, damages: list };
    let mut breaker = Copy::start_with(world, "breaker", serde_json::to_string(&task).unwrap());
    let mut outcomes = Vec::new();
    loop {
        let next = damages.get(outcomes.len());
        let report = breaker.hear_or_end().map(|said| serde_json::from_str(&said).unwrap());
        match report {
            Some(Report::Outcome(damage, Ok(ports))) => {
                expect_free(world, damage, &ports, held);
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

fn expect_free(world: &World, damage: Damage, ports: &[u16], held: &[u16]) {
    let different: BTreeSet<u16> = ports.iter().copied().collect();
    assert_eq!(different.len(), ASKING.len(), "one port twice after {damage:?}: {ports:?}");
    for port in different {
        assert!(!held.contains(&port), "{port} is somebody's and was granted after {damage:?}");
        assert!(world.ports().contains(&port), "{port} was granted after {damage:?}");
    }
}

/// What the breaker does.
pub(crate) fn damage_and_ask() {
    let task: Task = serde_json::from_str(&argument()).unwrap();
    let damages: Vec<Damage> = serde_json::from_slice(&fs::read(&task.damages).unwrap()).unwrap();
    let config = PortAllocatorConfig { sticky: task.sticky, ..config() };
    let whole = Snapshot::of(&task.file);
    let done = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| watch(&done, damages.len()));
        for (index, damage) in damages.iter().enumerate() {
            damage.apply(&task.file);
            let look = !task.sticky && (index % LOOK == 0 || whole.told_something(*damage));
            let outcome = ask(config.clone(), look).map_err(|error| error.to_string());
            whole.restore(&task.file, *damage);
            let outcome = outcome.map_err(|error| error.replace('\n', " | "));
            say(serde_json::to_string(&Report::Outcome(*damage, outcome)).unwrap());
            done.fetch_add(1, Relaxed);
        }
        say(serde_json::to_string(&Report::Done).unwrap());
    });
}

/// Ends this process where a case takes too long.
fn watch(done: &AtomicUsize, all: usize) {
    const PAUSE: Duration = Duration::from_millis(100);
    let (mut seen, mut waited) = (0, Duration::ZERO);
    while seen < all {
        thread::sleep(PAUSE);
        let now = done.load(Relaxed);
        waited = if now == seen { waited + PAUSE } else { Duration::ZERO };
        seen = now;
        if waited > LIMIT {
            process::abort();
        }
    }
}

// === impl Damage ===

impl Damage {
    /// What can become of one byte: all bits others, or none left; where it told something, one bit
    /// another, and one more or less, as an older version or a later one has it.
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
    pub(crate) fn of(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let pages = (0_u64..).step_by(PAGE as usize).zip(bytes.chunks(PAGE as usize));
        let used = pages.filter(|(_, page)| page.iter().any(|byte| *byte != 0));
        let pages = used.map(|(offset, page)| (offset, page.to_vec())).collect();
        Self { length: bytes.len() as u64, pages }
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Where the pages begin that hold anything.
    pub(crate) fn used_pages(&self) -> impl Iterator<Item = u64> {
        self.pages.iter().map(|(offset, _)| *offset)
    }

    /// Every byte of these pages, with its place.
    pub(crate) fn used_bytes(&self) -> impl Iterator<Item = (u64, u8)> {
        self.pages.iter().flat_map(|(offset, page)| (*offset..).zip(page.iter().copied()))
    }

    /// Whether a byte is damaged that was not 0.
    fn told_something(&self, damage: Damage) -> bool {
        let Damage::Byte { offset, .. } = damage else { return false };
        let page = self.pages.iter().find(|(page, _)| *page == offset - offset % PAGE);
        page.is_some_and(|(_, bytes)| bytes[(offset % PAGE) as usize] != 0)
    }

    fn restore(&self, path: &Path, after: Damage) {
        let file = open(path);
        file.set_len(self.length).unwrap();
        if let Damage::Byte { offset, .. } = after {
            // Where the page held nothing. Where it did, its bytes come now.
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
