//! `portolan prune` ends what a killed `run` or `up` has left behind, and nothing else.

use anyhow::{Context as _, Result, ensure};
use portolan_tests::{Process, TestEnv, isolated, wait_for};
use rustix::process::{Pid, Signal, kill_process};

/// Starts a stack with a server, a daemon of it, and a process with an empty environment.
fn stack(env: &TestEnv) -> Result<Process> {
    env.write(
        "family",
        "setsid bash -c 'exec -a left-daemon sleep 1000' &\n\
         bash -c 'env -i bash -c \"exec -a left-bare sleep 1000\"; :' &\n\
         trap '' TERM\nexec -a left-main sleep 1000",
    )?;
    env.write("portolan.yaml", "services: {a: {command: bash family, port: none}}")?;
    let mut up = env.portolan(&["up"])?.spawn("up")?;
    up.wait_until("three processes", || {
        let found = left(env)?;
        ensure!(found.len() == 3, "{found:?}");
        Ok(())
    })?;
    Ok(up)
}

/// The running processes of the stack. One of them has no environment, by which tests find theirs.
fn left(_env: &TestEnv) -> Result<Vec<(u32, String)>> {
    let ids = std::fs::read_dir("/proc")?.flatten();
    let ids = ids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let lines = ids.filter_map(|id| {
        let line = std::fs::read_to_string(format!("/proc/{id}/cmdline")).ok()?;
        Some((id, line.replace('\0', " ")))
    });
    Ok(lines.filter(|(_, line)| line.starts_with("left-")).collect())
}

/// Kills Portolan and its shims so that none of them can end anything.
fn kill_with_shims(env: &TestEnv, portolan: &mut Process) -> Result<()> {
    env.stop_shims()?;
    portolan.kill()?;
    for (pid, line) in env.processes()? {
        if line.starts_with("/proc/self/exe shim") {
            kill_process(pid_of(pid)?, Signal::KILL)?;
        }
    }
    Ok(())
}

fn pid_of(pid: u32) -> Result<Pid> {
    Pid::from_raw(pid.cast_signed()).context("not a process id")
}

#[test]
fn what_is_left_of_a_killed_stack_is_listed_and_ended() {
    isolated(|env| {
        let mut up = stack(env)?;
        // It is the stack of a living Portolan.
        let found = env.portolan(&["prune", "--json"])?.run()?.json()?;
        ensure!(found["processes"] == serde_json::json!([]), "{found}");
        kill_with_shims(env, &mut up)?;
        ensure!(left(env)?.len() == 3);
        // A process with the same name that no Portolan has started.
        let mut stranger = std::process::Command::new("bash");
        stranger.args(["-c", "exec -a left-alone sleep 1000"]);
        let mut stranger = env.spawn("stranger", stranger)?;
        stranger.wait_until("the stranger", || {
            ensure!(left(env)?.len() == 4);
            Ok(())
        })?;

        let found = env.portolan(&["prune", "--dry-run"])?.run()?.text()?;
        for expected in
            ["left-main 1000", "left-daemon 1000", "left-bare 1000", &format!("up {}", up.id())]
        {
            ensure!(found.contains(expected), "{expected}: {found}");
        }
        ensure!(!found.contains("left-alone") && left(env)?.len() == 4, "{found}");

        let ended = env.portolan(&["--json", "prune", "--grace", "300ms"])?.run()?.json()?;
        let states: Vec<(&str, &str)> = ended["processes"]
            .as_array()
            .context("no processes")?
            .iter()
            .filter_map(|it| Some((it["command"].as_str()?, it["state"].as_str()?)))
            .collect();
        for expected in [
            ("left-main 1000", "killed"),
            ("left-daemon 1000", "ended"),
            ("left-bare 1000", "ended"),
        ] {
            ensure!(states.contains(&expected), "{expected:?}: {states:?}");
        }
        let rest = left(env)?;
        ensure!(rest.len() == 1 && rest[0].0 == stranger.id(), "{rest:?}");
        let note = env.portolan(&["prune"])?.run()?.exits(0)?.stderr;
        ensure!(note.contains("nothing was left behind"), "{note}");
        Ok(())
    });
}

#[test]
fn daemons_of_a_program_whose_shim_was_killed_are_ended() {
    isolated(|env| {
        let mut up = stack(env)?;
        for (pid, line) in env.processes()? {
            if line.starts_with("/proc/self/exe shim") {
                kill_process(pid_of(pid)?, Signal::KILL)?;
            }
        }
        up.wait(portolan_tests::TIMEOUT)?.exits(137)?;
        wait_for("its processes to end", || {
            let found = left(env)?;
            ensure!(found.iter().all(|(_, line)| line.starts_with("left-bare")), "{found:?}");
            Ok(())
        })
    });
}

#[test]
fn nothing_is_ended_for_a_portolan_that_lives_or_has_ended_by_itself() {
    isolated(|env| {
        let script = "echo $PORTOLAN_RUN > marker; exec sleep 1000";
        let mut run = env.service("a", &["--health", "none"], &["sh", "-c", script])?;
        let marker = run.wait_until("the marker", || {
            let text = std::fs::read_to_string(env.directory().join("marker"))?;
            ensure!(text.ends_with('\n'));
            Ok(text.trim().to_owned())
        })?;
        // What is started with a copy of the environment of a program.
        let mut copy = std::process::Command::new("bash");
        copy.args(["-c", "exec -a left-copy sleep 1000"]).env("PORTOLAN_RUN", marker);
        let mut copy = env.spawn("copy", copy)?;
        copy.wait_until("the copy", || {
            ensure!(left(env)?.len() == 1);
            Ok(())
        })?;
        env.portolan(&["prune"])?.run()?.exits(0)?;
        run.terminate()?.exits(143)?;
        env.portolan(&["prune"])?.run()?.exits(0)?;
        ensure!(left(env)?.len() == 1);
        let records = std::fs::read_dir(env.directory().join("run/portolan/runs"))?.count();
        ensure!(records == 0, "{records} records");
        Ok(())
    });
}
