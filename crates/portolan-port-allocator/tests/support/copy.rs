//! Child processes: copies of this test program that run its test `child` and communicate over pipes.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, ChildStdout, Command, Stdio};

use portolan_port_allocator::{PortAllocator, PortAllocatorConfig, PortLease};

use super::TestEnv;

const ROLE: &str = "PORTOLAN_TEST_ROLE";
const ARGUMENT: &str = "PORTOLAN_TEST_ARGUMENT";
const CONFIG: &str = "PORTOLAN_TEST_CONFIG";
/// The prefix of a child's messages, among the output of the test harness.
const PREFIX: &str = "@@ ";

/// A copy of this program.
pub(crate) struct Copy {
    pub(crate) process: Child,
    output: BufReader<ChildStdout>,
}

// === impl Copy ===

impl Copy {
    pub(crate) fn start(env: &TestEnv, role: &str) -> Self {
        Self::start_with(env, role, "")
    }

    /// Starts a copy with an argument besides its role.
    pub(crate) fn start_with(env: &TestEnv, role: &str, argument: impl Display) -> Self {
        let config = serde_json::to_string(&env.config()).unwrap();
        let mut command = command(role, argument);
        command.env(CONFIG, config).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { process, output }
    }

    /// The next message of the child or of its own children.
    pub(crate) fn receive(&mut self) -> String {
        self.receive_or_end().expect("the child ended without a message")
    }

    /// The next message; none if the child has ended.
    pub(crate) fn receive_or_end(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 {
            if let Some((_, said)) = line.split_once(PREFIX) {
                return Some(said.trim_end().to_owned());
            }
            line.clear();
        }
        None
    }

    pub(crate) fn receive_port(&mut self) -> u16 {
        self.receive().parse().unwrap()
    }

    pub(crate) fn advance(&mut self) {
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

/// The command for a copy of this program with the same configuration.
pub(crate) fn command(role: &str, argument: impl Display) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child", "--exact", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env(ARGUMENT, argument.to_string());
    command
}

/// The role of this copy; none in the test run itself.
pub(crate) fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// The argument of this copy.
pub(crate) fn argument() -> String {
    std::env::var(ARGUMENT).unwrap()
}

pub(crate) fn config() -> PortAllocatorConfig {
    serde_json::from_str(&std::env::var(CONFIG).unwrap()).unwrap()
}

pub(crate) fn allocator() -> PortAllocator {
    PortAllocator::new(config()).unwrap()
}

pub(crate) fn send(text: impl Display) {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{PREFIX}{text}").unwrap();
    output.flush().unwrap();
}

/// Waits for the parent; false if it ended or closed the pipe.
pub(crate) fn wait() -> bool {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).unwrap() > 0
}

/// Makes a share of the session and the lease's sockets inheritable by child processes, for as long as this
/// process lives.
pub(crate) fn make_inheritable(lease: &PortLease) {
    let keep = |descriptor: BorrowedFd<'_>| {
        rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::empty()).unwrap();
    };
    let share = lease.share_session().unwrap();
    keep(share.as_fd());
    std::mem::forget(share);
    lease.socket_fds().into_iter().for_each(keep);
}

/// Waits for a process that is not a child of this one.
pub(crate) fn wait_for_the_end_of(pid: &str) {
    let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    let flags = rustix::process::PidfdFlags::empty();
    let Ok(process) = rustix::process::pidfd_open(pid, flags) else { return };
    let mut ended = [rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN)];
    let limit = rustix::event::Timespec { tv_sec: 30, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut ended, Some(&limit)), Ok(1), "the child did not end");
}
