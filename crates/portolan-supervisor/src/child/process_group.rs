//! Whether a process of a process group still runs.

use rustix::process::Pid;

/// Whether the group has a running process. Zombies do not count: the parent of an orphan may take
/// its time to wait for it, or never do it.
pub(super) fn is_running(group: Pid) -> bool {
    // Cheap, and usually enough: the group has no process, not even a zombie.
    rustix::process::test_kill_process_group(group).is_ok()
        && portolan_host_facts::is_group_running(group.as_raw_pid().cast_unsigned())
}
