//! The program of an instance on this host: whether it runs, and where its check commands run.

use std::path::PathBuf;

use portolan_host_facts::{ProcessStat, child_processes};

/// The longest chain of launchers, such as `npm`, `sh` and `node`.
const MAX_CHAIN: usize = 8;

/// The program of an instance on this host.
#[derive(Debug, Clone)]
pub struct LocalProgram {
    pid: u32,
    /// When it started, which tells it from a later process with the same id.
    start_time: Option<u64>,
    directory: Option<PathBuf>,
}

/// Whether a process does what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProcessState {
    /// It is scheduled when it has something to do.
    Runs,
    /// A signal such as SIGSTOP has stopped it. The kernel still accepts connections for it.
    Stopped,
    /// It has ended, or is a zombie.
    Ended,
}

// === impl LocalProgram ===

impl LocalProgram {
    /// Creates the program of a process that runs.
    pub fn new(pid: u32) -> Self {
        let start_time = ProcessStat::read(pid).map(|stat| stat.start_time);
        Self { pid, start_time, directory: None }
    }

    /// Sets the working directory of its check commands. Default: that of this process.
    pub fn directory(self, directory: impl Into<Option<PathBuf>>) -> Self {
        Self { directory: directory.into(), ..self }
    }

    pub(crate) fn working_directory(&self) -> Option<&PathBuf> {
        self.directory.as_ref()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns the state of the process. A launcher is stopped if the program that it has launched is.
    pub(crate) fn state(&self) -> ProcessState {
        let Some(stat) = ProcessStat::read(self.pid) else { return ProcessState::Ended };
        if self.start_time.is_some_and(|start| start != stat.start_time) {
            return ProcessState::Ended;
        }
        match state_of(&stat) {
            ProcessState::Runs if has_stopped_child(self.pid) => ProcessState::Stopped,
            state => state,
        }
    }
}

fn state_of(stat: &ProcessStat) -> ProcessState {
    match stat.state {
        'T' => ProcessState::Stopped,
        _ if stat.is_running() => ProcessState::Runs,
        _ => ProcessState::Ended,
    }
}

/// Whether one of the only children of the process is stopped. A process with several children is a server with workers.
fn has_stopped_child(pid: u32) -> bool {
    let mut pid = pid;
    for _ in 0..MAX_CHAIN {
        let [child] = child_processes(pid)[..] else { return false };
        let Some(stat) = ProcessStat::read(child) else { return false };
        if state_of(&stat) == ProcessState::Stopped {
            return true;
        }
        pid = child;
    }
    false
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::{Child, Command, Stdio};

    use rustix::process::{Pid, Signal, kill_process_group};

    use super::*;

    /// A process in a group of its own, which ends with the value.
    #[derive(Debug)]
    pub(crate) struct Running(Child);

    impl Running {
        pub(crate) fn start(program: &str, arguments: &[&str]) -> Self {
            let mut command = Command::new(program);
            command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
            Self(command.spawn().unwrap())
        }

        pub(crate) fn pid(&self) -> u32 {
            self.0.id()
        }

        pub(crate) fn signal(&self, pid: u32, signal: Signal) {
            rustix::process::kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal)
                .unwrap();
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            let group = Pid::from_raw(self.pid().cast_signed()).unwrap();
            _ = kill_process_group(group, Signal::KILL);
            _ = self.0.wait();
        }
    }

    fn wait_for(program: &LocalProgram, state: ProcessState) {
        while program.state() != state {
            std::thread::yield_now();
        }
    }

    #[test]
    fn stopped_process_does_not_run() {
        let process = Running::start("sleep", &["1000"]);
        let program = LocalProgram::new(process.pid());
        assert_eq!(program.state(), ProcessState::Runs);
        process.signal(process.pid(), Signal::STOP);
        wait_for(&program, ProcessState::Stopped);
        process.signal(process.pid(), Signal::CONT);
        wait_for(&program, ProcessState::Runs);
        process.signal(process.pid(), Signal::KILL);
        wait_for(&program, ProcessState::Ended);
    }

    #[test]
    fn launcher_of_a_stopped_program_is_stopped() {
        let process = Running::start("sh", &["-c", "sleep 1000; true"]);
        let program = LocalProgram::new(process.pid());
        let child = loop {
            if let [child] = child_processes(process.pid())[..] {
                break child;
            }
        };
        process.signal(child, Signal::STOP);
        wait_for(&program, ProcessState::Stopped);
        process.signal(child, Signal::CONT);
        wait_for(&program, ProcessState::Runs);
    }

    #[test]
    fn later_process_with_the_same_id_is_another_one() {
        let own = std::process::id();
        let program = LocalProgram { start_time: Some(1), ..LocalProgram::new(own) };
        assert_eq!(program.state(), ProcessState::Ended);
        assert_eq!(LocalProgram::new(u32::MAX).state(), ProcessState::Ended);
    }
}
