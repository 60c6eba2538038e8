//! A terminal whose output is stopped (Ctrl-S) stops nothing else.

use anyhow::{Context as _, Result, ensure};
use portolan_tests::{Terminal, TestEnv, isolated, portolan_program, wait_for};
use rustix::process::{Pid, Signal, kill_process};

const CTRL_S: &str = "\x13";
/// More than a terminal and every queue on the way to it hold.
const UNSEEN: u64 = 32 * 1024 * 1024;
/// More than is on its way when the terminal is stopped.
const SHOWN: usize = 1024 * 1024;

const FLOOD: &str = "
import os, signal
written = 0
line = b'x' * 1023 + b'\\n'
while True:
    written += os.write(1, line)
    if written % (1 << 20) < len(line):
        with open('written.new', 'w') as file:
            file.write(str(written))
        os.rename('written.new', 'written')
";

const STACK: &str = "
services:
  flood: {command: python3 flood.py, port: none}
  web: {command: perl serve.pl, port: 8090, bind: loopback, health: {check: 'command:sh check', interval: 100ms}}
  saves: {command: sh saves, port: none}
";

#[test]
fn stopped_terminal_blocks_neither_programs_nor_the_registry_nor_the_end() {
    isolated(|env| {
        env.write("flood.py", FLOOD)?;
        env.write("serve.pl", crate::worktrees::SERVE)?;
        env.write("saves", "trap 'echo saved > saved; exit 0' TERM; while :; do sleep 0.02; done")?;
        env.write("check", "test ! -e ill || exit 2")?;
        env.write("portolan.yaml", STACK)?;
        let portolan = portolan_program()?.display().to_string();
        let mut terminal = Terminal::start(env, 100, &[&portolan, "up"])?;
        terminal.wait_for("registry at http://127.0.0.1:7000")?;
        wait_for("the server", || health_is(env, "passing"))?;
        terminal.enter(CTRL_S)?;
        let before = terminal.shown()?;
        let path = env.directory().join("written");
        let written = || -> Result<u64> { Ok(std::fs::read_to_string(&path)?.trim().parse()?) };
        let start = wait_for("output", written)?;
        wait_for("output that is not shown", || {
            ensure!(terminal.shown()? - before < SHOWN, "the terminal is not stopped");
            let more = written()? - start;
            ensure!(more > UNSEEN, "{more} bytes");
            Ok(())
        })?;
        // A change of health is seen, and others learn it.
        env.write("ill", "")?;
        wait_for("the change of health", || health_is(env, "critical"))?;
        kill_process(up_in(env)?, Signal::TERM)?;
        wait_for("the end of the programs", || {
            let left = env.processes()?;
            ensure!(left.iter().all(|(_, line)| !line.contains("flood.py")), "{left:?}");
            Ok(())
        })?;
        ensure!(env.directory().join("saved").exists(), "it was killed before its end");
        Ok(())
    });
}

fn health_is(env: &TestEnv, expected: &str) -> Result<()> {
    let found = env.registered("web")?;
    ensure!(found.iter().any(|instance| instance["health"] == expected), "{found:?}");
    Ok(())
}

/// The process of `portolan up`, below the program that leads the session of the terminal.
fn up_in(env: &TestEnv) -> Result<Pid> {
    let portolan = format!("{} up", portolan_program()?.display());
    let found = env.processes()?.into_iter().find(|(_, line)| *line == portolan);
    let pid = found.and_then(|(pid, _)| Pid::from_raw(pid.cast_signed()));
    pid.context("`portolan up` does not run")
}
