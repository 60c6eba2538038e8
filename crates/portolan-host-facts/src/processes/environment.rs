//! The environment with which a process was started (proc_pid_environ(5)).

use std::fs;

use super::process_ids;

/// Returns the processes that were started with this environment variable, with its value, as far as this user may see it.
pub fn processes_with(variable: &str) -> Vec<(u32, String)> {
    process_ids().filter_map(|pid| Some((pid, variable_of(pid, variable)?))).collect()
}

/// Returns the value of an environment variable with which a process was started; `None` if it had none, or this user may not see it.
pub fn variable_of(pid: u32, variable: &str) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut variables = environment.split(|byte| *byte == 0);
    let value =
        variables.find_map(|text| text.strip_prefix(variable.as_bytes())?.strip_prefix(b"="))?;
    String::from_utf8(value.to_owned()).ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn variable_of_another_process_is_found() {
        let mut cat = Command::new("cat")
            .env("FOUND_BY_ITS_VALUE", "a=b")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let id = cat.id();
        assert_eq!(processes_with("FOUND_BY_ITS_VALUE"), [(id, "a=b".to_owned())]);
        assert_eq!(variable_of(id, "FOUND_BY_ITS"), None);
        drop(cat.stdin.take());
        cat.wait().unwrap();
        assert_eq!(variable_of(id, "FOUND_BY_ITS_VALUE"), None);
    }
}
