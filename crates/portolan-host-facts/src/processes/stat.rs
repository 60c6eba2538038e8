//! The state of a process as in `/proc/PID/stat` (proc_pid_stat(5)).

use crate::files;

/// The fields that Portolan uses of `/proc/PID/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessStat {
    /// The state as a letter, such as `R` for running and `Z` for a zombie.
    pub state: char,
    /// The id of its parent; `None` if it has none in this process namespace.
    pub parent: Option<u32>,
    /// The id of its process group; `None` if the group's leader is in another process namespace.
    pub group: Option<u32>,
    /// The id of its session; `None` if the session's leader is in another process namespace.
    pub session: Option<u32>,
    /// When it started, in clock ticks since boot. Together with the id it tells a process from a
    /// later one with the same id.
    pub start_time: u64,
    /// The address of the bottom of its stack: the same after a fork, another one after an exec.
    /// `None` if this user may not see it.
    pub stack_start: Option<u64>,
}

// === impl ProcessStat ===

impl ProcessStat {
    /// Reads the state of a process; `None` if there is no such process.
    pub fn read(pid: u32) -> Option<Self> {
        Self::parse(&files::read(&format!("/proc/{pid}/stat")))
    }

    /// Parses the content of `/proc/PID/stat`.
    ///
    /// The second field is the name in parentheses, which may contain anything. So fields are
    /// counted from the last parenthesis, after which the third field follows.
    pub fn parse(text: &str) -> Option<Self> {
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).copied();
        // The kernel writes 0 or -1 for a process or group that has no number here.
        let id = |number| Some(field(number)?.parse::<i32>().ok()?.try_into().unwrap_or_default());
        let address = field(28)?.parse().ok()?;
        Some(Self {
            state: field(3)?.chars().next()?,
            parent: id(4).filter(|id| *id != 0),
            group: id(5).filter(|id| *id != 0),
            session: id(6).filter(|id| *id != 0),
            start_time: field(22)?.parse().ok()?,
            stack_start: (address != 0).then_some(address),
        })
    }

    /// Whether the process has not ended. A zombie has ended, and was not waited for yet.
    pub fn is_running(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIELDS_6_TO_21: &str = "42 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0";

    fn parse(beginning: &str) -> Option<ProcessStat> {
        ProcessStat::parse(&format!("{beginning} {FIELDS_6_TO_21} 777 1 2 3 4 5 999 0"))
    }

    #[test]
    fn fields_are_counted_after_the_name() {
        let expected = ProcessStat {
            state: 'S',
            parent: Some(1),
            group: Some(42),
            session: Some(42),
            start_time: 777,
            stack_start: Some(999),
        };
        assert_eq!(parse("7 (a) b) S 1 42"), Some(expected));
        assert_eq!(parse("43 (S 9 9) S 1 42"), Some(expected));
    }

    #[test]
    fn ids_outside_of_this_namespace_are_none() {
        for ids in ["0 0", "-1 -1"] {
            let stat = parse(&format!("7 (sh) Z {ids}")).unwrap();
            assert_eq!((stat.parent, stat.group, stat.is_running()), (None, None, false));
        }
    }

    #[test]
    fn truncated_stat_is_none() {
        for text in ["", "7 (sh", "7 (sh)", "7 (sh) S", "7 (sh) S 1 42"] {
            assert_eq!(ProcessStat::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn this_process_runs_and_a_missing_one_has_no_state() {
        let own = ProcessStat::read(std::process::id()).unwrap();
        assert!(own.is_running() && own.start_time > 0);
        assert_eq!(own.parent, Some(std::os::unix::process::parent_id()));
        assert_eq!(ProcessStat::read(u32::MAX), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_text_is_parsed(text: String, fields in prop::collection::vec("[-0-9SZ)]{0,12}", 0..60)) {
            for text in [text, format!("7 (sh) {}", fields.join(" "))] {
                let stat = ProcessStat::parse(&text);
                prop_assert!(stat.is_none_or(|it| it.parent != Some(0) && it.group != Some(0)));
            }
        }
    }
}
