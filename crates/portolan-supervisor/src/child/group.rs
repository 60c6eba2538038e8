//! Whether anybody of a process group still runs.

use std::fs;

use rustix::process::Pid;

/// Whether the group has a member that runs. One that has ended and was not waited for does not
/// count: its adoptive parent may take its time, or never do it.
pub(super) fn lives(group: Pid) -> bool {
    // The usual answer, and a cheap one: nobody is there, not even one that has ended.
    rustix::process::test_kill_process_group(group).is_ok() && has_running_member(group)
}

fn has_running_member(group: Pid) -> bool {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter_map(|id| fs::read_to_string(format!("/proc/{id}/stat")).ok())
        .any(|stat| is_running_member(&stat, group))
}

/// State and group are the first and the third field after the name (proc_pid_stat(5)), which
/// stands in parentheses and may hold anything.
fn is_running_member(stat: &str, group: Pid) -> bool {
    let Some((_, fields)) = stat.rsplit_once(')') else { return false };
    let mut fields = fields.split_whitespace();
    let running = !matches!(fields.next(), None | Some("Z" | "X"));
    running && fields.nth(1).and_then(|field| field.parse().ok()) == Some(group.as_raw_pid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_members_that_run_count() {
        let group = Pid::from_raw(42).unwrap();
        assert!(is_running_member("43 (a) b) S 1 42 42 0", group));
        assert!(!is_running_member("43 (a) b) Z 1 42 42 0", group));
        assert!(!is_running_member("43 (S 1 42) S 1 41 42 0", group));
        assert!(!is_running_member("", group));
    }
}
