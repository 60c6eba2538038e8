//! The processor time of another process.

use std::time::Duration;

use anyhow::{Context, Result};

/// The fields of `/proc/PID/stat` before the user time that follow the name of the program (proc_pid_stat(5)).
const BEFORE: usize = 11;

/// Returns the processor time that the process has used, in user and kernel mode.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(')').context("no name")?.1.split_whitespace();
    let ticks = fields.skip(BEFORE).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}
