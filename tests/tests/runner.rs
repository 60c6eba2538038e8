//! `run` and `up` as process runners: signals, exit statuses, blocked output, and nothing left behind.

use std::fs::OpenOptions;
use std::time::Duration;

use anyhow::{Result, ensure};
use portolan_tests::{Process, TIMEOUT, TestEnv, http, isolated, wait_for};
use rustix::process::Signal;

/// Starts processes in other groups and sessions, and as daemons, all with this text in their arguments.
fn family(mark: &str) -> String {
    let sleep = format!("exec -a {mark} sleep 1000");
    format!(
        "setsid bash -c '{sleep}' & (setsid bash -c '{sleep}' &) ; bash -c '{sleep}' & echo started; wait"
    )
}

fn none_left(env: &TestEnv, mark: &str) -> Result<()> {
    let left: Vec<_> =
        env.processes()?.into_iter().filter(|(_, line)| line.starts_with(mark)).collect();
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

fn three_started(env: &TestEnv, process: &mut Process, mark: &str) -> Result<()> {
    process.wait_until("three processes", || {
        let found = env.processes()?.into_iter().filter(|(_, line)| line.starts_with(mark));
        ensure!(found.count() == 3);
        Ok(())
    })
}

fn run(env: &TestEnv, name: &str, script: &str) -> Result<Process> {
    env.service(name, &["--health", "none"], &["bash", "-c", script])
}

fn up(env: &TestEnv, file: &str) -> Result<Process> {
    env.write("portolan.yaml", file)?;
    env.portolan(&["up"])?.spawn("up")
}

#[test]
fn nothing_is_left_of_a_killed_run() {
    isolated(|env| {
        let mut wrapper = run(env, "api", &family("orphan-of-run"))?;
        three_started(env, &mut wrapper, "orphan-of-run")?;
        wrapper.kill()?;
        wait_for("its processes to end", || none_left(env, "orphan-of-run"))
    });
}

#[test]
fn nothing_is_left_of_a_stopped_run() {
    isolated(|env| {
        let mut wrapper = run(env, "api", &family("left-of-run"))?;
        three_started(env, &mut wrapper, "left-of-run")?;
        wrapper.terminate()?.exits(143)?;
        none_left(env, "left-of-run")
    });
}

#[test]
fn nothing_is_left_of_a_killed_stack() {
    isolated(|env| {
        env.write("family", &family("orphan-of-up"))?;
        let mut up = up(env, "services: {a: {command: bash family, port: none}}")?;
        three_started(env, &mut up, "orphan-of-up")?;
        up.kill()?;
        wait_for("its processes to end", || none_left(env, "orphan-of-up"))
    });
}

#[test]
fn run_forwards_signals_as_it_receives_them() {
    isolated(|env| {
        let signals =
            [Signal::HUP, Signal::USR1, Signal::USR2, Signal::QUIT, Signal::ALARM, Signal::WINCH];
        let script = "for s in HUP USR1 USR2 QUIT ALRM WINCH; do trap \"echo got $s\" $s; done; echo ready; while :; do sleep 0.02; done";
        let mut wrapper = run(env, "api", script)?;
        wrapper.wait_for_line("ready")?;
        for (signal, name) in
            signals.into_iter().zip(["HUP", "USR1", "USR2", "QUIT", "ALRM", "WINCH"])
        {
            wrapper.signal(signal)?;
            wrapper.wait_for_line(&format!("got {name}"))?;
        }
        wrapper.terminate()?.exits(143).map(drop)
    });
}

#[test]
fn interrupt_reaches_the_program_once_and_as_an_interrupt() {
    isolated(|env| {
        let script = "trap 'echo got INT; exit 3' INT; trap 'echo got TERM' TERM; echo ready; while :; do sleep 0.02; done";
        let mut wrapper = run(env, "api", script)?;
        wrapper.wait_for_line("ready")?;
        wrapper.signal(Signal::INT)?;
        let output = wrapper.wait(TIMEOUT)?.exits(3)?;
        ensure!(output.stdout.matches("got").count() == 1, "{output:?}");
        Ok(())
    });
}

#[test]
fn second_request_ends_the_grace_period() {
    isolated(|env| {
        let options = ["--health", "none", "--grace", "1h"];
        let script = "trap 'echo first' TERM; echo ready; while :; do sleep 0.02; done";
        let mut wrapper = env.service("api", &options, &["bash", "-c", script])?;
        wrapper.wait_for_line("ready")?;
        wrapper.signal(Signal::TERM)?;
        wrapper.wait_for_line("first")?;
        wrapper.signal(Signal::TERM)?;
        let output = wrapper.wait(TIMEOUT)?.exits(137)?;
        ensure!(output.stderr.contains("did not end in time and was killed"), "{output:?}");
        Ok(())
    });
}

#[test]
fn exit_statuses_are_those_of_a_shell() {
    isolated(|env| {
        for (script, code) in [("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)] {
            run(env, "api", script)?.wait(TIMEOUT)?.exits(code)?;
        }
        for (program, code) in [("no-such-program-here", 127), ("/etc/passwd", 126)] {
            env.service("api", &[], &[program])?.wait(TIMEOUT)?.exits(code)?;
            let exec = [
                "exec",
                "--needs",
                "api",
                "--set",
                "discovery.endpoints={api: \"127.0.0.1:1\"}",
                "--",
                program,
            ];
            env.portolan(&exec)?.run()?.exits(code)?;
        }
        Ok(())
    });
}

#[test]
fn stack_ends_with_the_status_of_the_first_failure() {
    isolated(|env| {
        let file = "services: {a: {command: sh -c 'exit 42', port: none}, b: {command: 'true', port: none}}";
        let output = up(env, file)?.wait(TIMEOUT)?.exits(42)?;
        ensure!(
            output.stdout.lines().any(|line| line.starts_with("a ") && line.contains("exited 42")),
            "{output:?}"
        );
        Ok(())
    });
}

#[test]
fn output_that_nobody_reads_blocks_nothing() {
    isolated(|env| {
        let file = "services:\n  flood: {command: yes 0123456789012345678901234567890123456789, port: none}\n  calm: {command: sh calm, port: none}\n";
        env.write("calm", "until [ -e go ]; do sleep 0.02; done; echo > done; exec sleep 1000")?;
        env.write("portolan.yaml", file)?;
        let pipe = env.directory().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0)?;
        // Open for both, so that opening does not wait; nobody reads.
        let held = OpenOptions::new().read(true).write(true).open(&pipe)?;
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "exec \"$0\" up >pipe 2>&1"]).arg(portolan_tests::portolan_program()?);
        shell.current_dir(env.directory());
        let mut up = env.spawn("up", shell)?;
        up.wait_until("the pipe to be full", || {
            let waiting = rustix::io::ioctl_fionread(&held)?;
            ensure!(waiting > 40_000, "{waiting}");
            Ok(())
        })?;
        http::get("http://127.0.0.1:7000/readyz")?;
        // A program starts and works while the output is blocked.
        env.write("go", "")?;
        up.wait_until("a program to go on", || {
            ensure!(env.directory().join("done").exists());
            Ok(())
        })?;
        up.signal(Signal::TERM)?;
        up.wait(Duration::from_secs(20))?.exits(0).map(drop)
    });
}

#[test]
fn server_that_goes_into_the_background_is_reported_with_what_keeps_it_in_the_foreground() {
    isolated(|env| {
        let redis = "redis-server --port {port} --bind 127.0.0.1 --save '' --daemonize yes";
        env.write("nginx.conf", "events {} http { server { listen 127.0.0.1:8090; } }")?;
        let nginx = "nginx -p . -c nginx.conf -e error.log -g 'pid nginx.pid;'";
        let file = format!(
            "services:\n  redis: {{command: \"{redis}\", port: 6391}}\n  web: {{command: \"{nginx}\", port: 8090}}\n  api: {{command: sleep 1000, port: none, needs: [redis]}}\n"
        );
        let output = up(env, &file)?.wait(TIMEOUT)?.exits(1)?;
        for expected in [
            "failed: it has put itself into the background: remove `--daemonize yes`",
            "failed: it has put itself into the background: add `-g 'daemon off;'`",
            "failed: needs redis, which failed",
        ] {
            ensure!(output.stdout.contains(expected), "{expected}: {output:?}");
        }
        // A stack waits for nothing that has no end, and leaves nothing behind.
        wait_for("the servers to end", || {
            ensure!(std::net::TcpStream::connect("127.0.0.1:6391").is_err());
            ensure!(std::net::TcpStream::connect("127.0.0.1:8090").is_err());
            Ok(())
        })
    });
}
