//! The processes of a soak: copies of this program, each with a part to play.

use std::env;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use portolan_port_allocator::PortAllocatorConfig;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::ground::{Figure, Ground};
use crate::{child, owner, stranger};

const ROLE: &str = "PORTOLAN_SOAK_ROLE";
const CONFIG: &str = "PORTOLAN_SOAK_CONFIG";
const FOLDER: &str = "PORTOLAN_SOAK_FOLDER";
const PARENT: &str = "PORTOLAN_SOAK_PARENT";

/// How many faults of a kind are told one by one.
const TOLD: u64 = 10;

/// How an owner deals with its leases: as it should, or in a way that the soak has to notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Honest,
    /// Nobody sees its reservations: it has a table of its own.
    Lonely,
    /// Its session ends as soon as it has a port, as if it had closed the session's descriptor.
    Lapsed,
    /// It looks for a port that is free, and takes it later: the algorithm of the specification.
    Hasty,
    /// It lets go of the guard before anybody listens.
    Unguarded,
}

const MANNERS: [(&str, Manner); 5] = [
    ("owner", Manner::Honest),
    ("loner", Manner::Lonely),
    ("lapsed", Manner::Lapsed),
    ("hasty", Manner::Hasty),
    ("unguarded", Manner::Unguarded),
];

/// Plays the part that this process was started for; none where it is the test run itself.
pub(crate) fn play() {
    let Ok(role) = env::var(ROLE) else { return };
    let ground = Ground::open(&PathBuf::from(env::var_os(FOLDER).unwrap()));
    if role == "heir" {
        return child::inherit(&ground);
    }
    end_with_parent();
    match MANNERS.iter().find(|(name, _)| *name == role) {
        Some((_, manner)) => owner::own(&ground, &config(*manner), *manner),
        None if role == "server" => child::serve(),
        None if role == "stranger" => {
            stranger::take_without_asking(&ground, &config(Manner::Honest));
        }
        None => panic!("no role {role}"),
    }
}

/// So that a soak that is killed leaves nobody behind; heirs end by themselves.
fn end_with_parent() {
    // Whoever kills gets its turn before all these.
    _ = rustix::process::nice(5);
    set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
    let parent = getppid().map(|pid| pid.as_raw_nonzero().to_string());
    if parent != env::var(PARENT).ok() {
        std::process::exit(0);
    }
}

fn config(manner: Manner) -> PortAllocatorConfig {
    let config: PortAllocatorConfig = serde_json::from_str(&env::var(CONFIG).unwrap()).unwrap();
    let mut runtime_dir = config.runtime_dir.clone().unwrap();
    if manner == Manner::Lonely {
        runtime_dir.set_file_name(format!("run-{}", std::process::id()));
    }
    let sticky = std::process::id().is_multiple_of(4);
    PortAllocatorConfig { sticky, runtime_dir: Some(runtime_dir), ..config }
}

/// Counts a fault, and tells of it where there are not too many.
pub(crate) fn blame(ground: &Ground, figure: Figure, what: &str) {
    if ground.count(figure) < TOLD {
        _ = writeln!(std::io::stderr(), "{figure:?}: {what}");
    }
}

/// A command that plays a part in a new soak.
pub(crate) fn first(role: &str, config: &PortAllocatorConfig, folder: &std::path::Path) -> Command {
    let mut command = command(role);
    command.env(CONFIG, serde_json::to_string(config).unwrap()).env(FOLDER, folder);
    command
}

/// A command that plays a part in the soak that this process is in.
pub(crate) fn command(role: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["part", "--exact", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env(PARENT, std::process::id().to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}
