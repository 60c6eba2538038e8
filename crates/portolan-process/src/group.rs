//! The process group of a command.

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Child;

/// Kills every process of the group when it is dropped.
#[derive(Debug)]
pub(crate) struct ProcessGroup(Option<Pid>);

// === impl ProcessGroup ===

impl ProcessGroup {
    /// The group of a child that was started in one of its own.
    pub(crate) fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(id.cast_signed())))
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        // A process id is not used again while a group has it. The group is empty if nothing is left to kill.
        if let Some(group) = self.0 {
            _ = kill_process_group(group, Signal::KILL);
        }
    }
}
