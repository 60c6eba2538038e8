//! Copies of the running test program, which do what its test `child` does and talk over pipes.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::BorrowedFd;
use std::process::{Child, ChildStdout, Command, Stdio};

use portolan_port_allocator::{PortAllocator, PortAllocatorConfig, PortLease};

use super::World;

const ROLE: &str = "PORTOLAN_TEST_ROLE";
const ARGUMENT: &str = "PORTOLAN_TEST_ARGUMENT";
const CONFIG: &str = "PORTOLAN_TEST_CONFIG";
/// What a child says stands behind this, among what the test harness says.
const SAYS: &str = "@@ ";

/// A copy of this program.
pub(crate) struct Copy {
    pub(crate) process: Child,
    output: BufReader<ChildStdout>,
}

// === impl Copy ===

impl Copy {
    pub(crate) fn start(world: &World, role: &str) -> Self {
        Self::start_with(world, role, "")
    }

    /// One that is told something besides its role.
    pub(crate) fn start_with(world: &World, role: &str, argument: impl Display) -> Self {
        let config = serde_json::to_string(&world.config()).unwrap();
        let mut command = command(role, argument);
        command.env(CONFIG, config).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { process, output }
    }

    /// The next thing that it says, or a child of its own does.
    pub(crate) fn hear(&mut self) -> String {
        self.hear_or_end().expect("the child ended without a word")
    }

    /// The next thing that it says; none where it has ended.
    pub(crate) fn hear_or_end(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 {
            if let Some((_, said)) = line.split_once(SAYS) {
                return Some(said.trim_end().to_owned());
            }
            line.clear();
        }
        None
    }

    pub(crate) fn hear_port(&mut self) -> u16 {
        self.hear().parse().unwrap()
    }

    pub(crate) fn go_on(&mut self) {
        self.process.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn end(mut self) {
        drop(self.process.stdin.take());
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// What starts a copy of this program, which knows the configuration that this one was told.
pub(crate) fn command(role: &str, argument: impl Display) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child", "--exact", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env(ARGUMENT, argument.to_string());
    command
}

/// What a copy is to be; none where this is the test run itself.
pub(crate) fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// What it is told besides.
pub(crate) fn argument() -> String {
    std::env::var(ARGUMENT).unwrap()
}

pub(crate) fn config() -> PortAllocatorConfig {
    serde_json::from_str(&std::env::var(CONFIG).unwrap()).unwrap()
}

pub(crate) fn allocator() -> PortAllocator {
    PortAllocator::new(config()).unwrap()
}

pub(crate) fn say(text: impl Display) {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{SAYS}{text}").unwrap();
    output.flush().unwrap();
}

/// Waits for the parent's word; false where it is gone or wants the child to end.
pub(crate) fn wait() -> bool {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).unwrap() > 0
}

/// Has every program that is started from now on inherit the lease.
pub(crate) fn bequeath(lease: &PortLease) {
    let keep = |descriptor: BorrowedFd<'_>| {
        rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::empty()).unwrap();
    };
    lease.inherited_fds().into_iter().for_each(keep);
}

/// Waits for a process that is not a child of this one, and so cannot be waited for otherwise.
pub(crate) fn wait_for_the_end_of(pid: &str) {
    let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    let flags = rustix::process::PidfdFlags::empty();
    let Ok(process) = rustix::process::pidfd_open(pid, flags) else { return };
    let mut ended = [rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN)];
    let limit = rustix::event::Timespec { tv_sec: 30, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut ended, Some(&limit)), Ok(1), "the child did not end");
}
