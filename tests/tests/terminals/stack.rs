//! Programs of a stack: those with `tty: true` have a terminal of their own, others a standard input that stays open.

use anyhow::{Result, ensure};
use portolan_tests::{Process, TIMEOUT, Terminal, TestEnv, frameworks, isolated, portolan_program};

/// Says what a program sees of its terminal, also after each change of its size.
const LOOKS_AT_ITS_TERMINAL: &str = "\
import os, signal
def show(*_):
    print('columns', os.get_terminal_size(0).columns)
signal.signal(signal.SIGWINCH, show)
print('terminals', [os.isatty(number) for number in range(3)])
print('foreground', os.tcgetpgrp(os.open('/dev/tty', os.O_RDWR)) == os.getpgrp())
show()
while True:
    signal.pause()
";

fn up(env: &TestEnv, file: &str) -> Result<Process> {
    env.write("portolan.yaml", file)?;
    env.portolan(&["up"])?.spawn("up")
}

#[test]
fn terminal_is_that_of_the_program_and_follows_the_size_of_the_one_of_up() {
    isolated(|env| {
        env.write("looks.py", LOOKS_AT_ITS_TERMINAL)?;
        env.write(
            "portolan.yaml",
            "services: {looks: {command: python3 looks.py, port: none, tty: true}}",
        )?;
        let portolan = portolan_program()?.display().to_string();
        let mut terminal = Terminal::start(env, 100, &[&portolan, "up"])?;
        terminal.wait_for("terminals [True, True, True]")?;
        terminal.wait_for("foreground True")?;
        // Less the name of the service before each line.
        terminal.wait_for("columns 85")?;
        terminal.resize(120)?;
        terminal.wait_for("columns 105")?;
        terminal.enter("\x03")?;
        terminal.ends()?.exits(0).map(drop)
    });
}

#[test]
fn output_to_a_terminal_is_not_held_back() {
    isolated(|env| {
        // It writes neither a line ending nor anything after it, as a prompt.
        let program =
            "python3 -c \"import time; print('tick'); print('name: ', end=''); time.sleep(1000)\"";
        let file = format!("services: {{asks: {{command: {program:?}, port: none, tty: true}}}}");
        let mut up = up(env, &file)?;
        up.wait_for_line("| tick")?;
        up.wait_for_line("| name: ")?;
        up.terminate()?.exits(0).map(drop)
    });
}

#[test]
fn user_of_a_program_may_open_its_terminal() {
    isolated(|env| {
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let file = "services: {w: {command: 'echo opened > /dev/stdout', shell: true, port: none, tty: true, user: nobody}}";
        let output = up(env, file)?.wait(TIMEOUT)?.exits(0)?;
        ensure!(output.stdout.contains("| opened"), "{output:?}");
        Ok(())
    });
}

#[test]
fn nothing_is_left_of_a_terminal_after_up_was_killed() {
    isolated(|env| {
        let file = "services: {a: {command: 'exec -a on-terminal sleep 1000', shell: /bin/bash, port: none, tty: true}}";
        let mut up = up(env, file)?;
        let running = || -> Result<bool> {
            Ok(env.processes()?.iter().any(|(_, line)| line.starts_with("on-terminal")))
        };
        up.wait_until("the program", || {
            ensure!(running()?);
            Ok(())
        })?;
        up.kill()?;
        portolan_tests::wait_for("its end", || {
            ensure!(!running()?);
            Ok(())
        })
    });
}

#[test]
fn standard_input_stays_open_unless_it_is_closed() {
    isolated(|env| {
        let reads = "sh -c 'echo begun; cat; echo ended'";
        let file = format!(
            "services:\n  closed: {{command: \"{reads}\", port: none, stdin: closed}}\n  open: {{command: \"{reads}\", port: none, needs: {{closed: completed}}}}\n"
        );
        let mut up = up(env, &file)?;
        up.wait_for_line("open         | begun")?;
        let output = up.terminate()?.exits(0)?;
        ensure!(output.stdout.contains("closed       | ended"), "{output:?}");
        ensure!(!output.stdout.contains("open         | ended"), "{output:?}");
        Ok(())
    });
}

#[test]
fn esbuild_watches_its_files() {
    isolated(|env| {
        env.write("page.js", "console.log('first')")?;
        env.write(
            "portolan.yaml",
            "services: {build: {command: esbuild page.js --outfile=built.js --watch, port: none}}",
        )?;
        let up = env.portolan(&["up"])?.env("PATH", &frameworks::path_with_vite()?);
        let mut up = up.spawn("up")?;
        let built = env.directory().join("built.js");
        for (text, next) in [("first", "second"), ("second", "third")] {
            up.wait_until("the built file", || {
                let file = std::fs::read_to_string(&built)?;
                ensure!(file.contains(text), "{file:?}");
                Ok(())
            })?;
            env.write("page.js", &format!("console.log('{next}')"))?;
        }
        up.terminate()?.exits(0).map(drop)
    });
}
