//! The default owner of a lease of `ports alloc`.
//!
//! A shell forks subshells, as for `$(portolan ports alloc api | cat)`, which end at once. The owner
//! is therefore the nearest ancestor that is not a fork of its parent, but was started by execve(2).

use portolan_host_facts::ProcessStat;

/// The maximum number of nested subshells.
const MAX_SUBSHELLS: usize = 16;

/// Returns the process that owns a lease taken by this process.
pub(super) fn owner() -> u32 {
    let caller = rustix::process::getppid().map_or(1, |pid| pid.as_raw_nonzero().get());
    nearest_program(caller.cast_unsigned(), ProcessStat::read)
}

fn nearest_program(caller: u32, stat: impl Fn(u32) -> Option<ProcessStat>) -> u32 {
    let mut owner = caller;
    for _ in 0..MAX_SUBSHELLS {
        let Some(own) = stat(owner).filter(|own| own.stack_start.is_some()) else { break };
        let Some(parent) = own.parent else { break };
        // execve(2) moves the stack, and fork(2) does not.
        match stat(parent) {
            Some(it) if it.stack_start == own.stack_start => owner = parent,
            _ => break,
        }
    }
    owner
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner_among(processes: &[(u32, u32, u64)], caller: u32) -> u32 {
        nearest_program(caller, |pid| {
            let (_, parent, stack) = *processes.iter().find(|process| process.0 == pid)?;
            let stack_start = (stack != 0).then_some(stack);
            let parent = Some(parent);
            Some(ProcessStat {
                state: 'S',
                parent,
                group: None,
                session: None,
                start_time: 1,
                stack_start,
            })
        })
    }

    #[test]
    fn owner_of_a_subshell_is_the_shell() {
        let processes = [(1, 0, 10), (2, 1, 20), (3, 2, 20), (4, 3, 20)];
        assert_eq!(owner_among(&processes, 4), 2);
        assert_eq!(owner_among(&processes, 2), 2);
    }

    #[test]
    fn unreadable_process_is_not_a_subshell() {
        assert_eq!(owner_among(&[(2, 1, 0), (1, 0, 0)], 2), 2);
        assert_eq!(owner_among(&[], 7), 7);
    }

    #[test]
    fn started_program_has_another_stack_than_its_parent() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let own = std::process::id();
        let [own_stat, child_stat] = [own, child.id()].map(|pid| ProcessStat::read(pid).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(child_stat.parent, Some(own));
        assert_ne!(child_stat.stack_start, own_stat.stack_start);
    }
}
