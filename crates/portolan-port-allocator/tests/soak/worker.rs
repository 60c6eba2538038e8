//! The processes of a soak: copies of this program with different roles.

use std::env;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use portolan_port_allocator::PortAllocatorConfig;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::oracle::{Figure, Oracle};
use crate::{child, foreign, owner};

const ROLE: &str = "PORTOLAN_SOAK_ROLE";
const CONFIG: &str = "PORTOLAN_SOAK_CONFIG";
const FOLDER: &str = "PORTOLAN_SOAK_FOLDER";
const PARENT: &str = "PORTOLAN_SOAK_PARENT";

/// How many faults of a kind are printed.
const PRINTED: u64 = 10;

/// How an owner treats its leases: correctly, or with a fault that the soak must detect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Honest,
    /// It has a reservation table of its own.
    Isolated,
    /// Its session ends at once, as if it had closed the descriptor.
    Lapsed,
    /// It finds a free port and binds it later, like the algorithm of the specification.
    CheckThenBind,
    /// It closes the guard before the program listens.
    Unguarded,
}

const BEHAVIOURS: [(&str, Behaviour); 5] = [
    ("owner", Behaviour::Honest),
    ("isolated", Behaviour::Isolated),
    ("lapsed", Behaviour::Lapsed),
    ("check_then_bind", Behaviour::CheckThenBind),
    ("unguarded", Behaviour::Unguarded),
];

/// Runs the role of this process; does nothing in the test run itself.
pub(crate) fn run_role() {
    let Ok(role) = env::var(ROLE) else { return };
    let oracle = Oracle::open(&PathBuf::from(env::var_os(FOLDER).unwrap()));
    if role == "inheritor" {
        return child::inherit(&oracle);
    }
    exit_with_parent();
    match BEHAVIOURS.iter().find(|(name, _)| *name == role) {
        Some((_, behaviour)) => owner::own(&oracle, &config(*behaviour), *behaviour),
        None if role == "server" => child::serve(),
        None if role == "foreign" => {
            foreign::bind_ports(&oracle, &config(Behaviour::Honest));
        }
        None => panic!("unknown role {role}"),
    }
}

/// Ends this process with its parent. Inheriting children end by themselves.
fn exit_with_parent() {
    // The process that kills is scheduled first.
    _ = rustix::process::nice(5);
    set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
    let parent = getppid().map(|pid| pid.as_raw_nonzero().to_string());
    if parent != env::var(PARENT).ok() {
        #[allow(clippy::disallowed_methods, reason = "the process has nothing to clean up")]
        std::process::exit(0);
    }
}

fn config(behaviour: Behaviour) -> PortAllocatorConfig {
    let config: PortAllocatorConfig = serde_json::from_str(&env::var(CONFIG).unwrap()).unwrap();
    let mut runtime_dir = config.runtime_dir.clone().unwrap();
    if behaviour == Behaviour::Isolated {
        runtime_dir.set_file_name(format!("run-{}", std::process::id()));
    }
    let sticky = std::process::id().is_multiple_of(4);
    PortAllocatorConfig { sticky, runtime_dir: Some(runtime_dir), ..config }
}

/// Counts a fault, and prints the first few.
pub(crate) fn report_fault(oracle: &Oracle, figure: Figure, what: &str) {
    if oracle.count(figure) < PRINTED {
        _ = writeln!(std::io::stderr(), "{figure:?}: {what}");
    }
}

/// A command that runs a role in a new soak.
pub(crate) fn first(role: &str, config: &PortAllocatorConfig, folder: &std::path::Path) -> Command {
    let mut command = command(role);
    command.env(CONFIG, serde_json::to_string(config).unwrap()).env(FOLDER, folder);
    command
}

/// A command that runs a role in the soak of this process.
pub(crate) fn command(role: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["part", "--exact", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env(PARENT, std::process::id().to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}
