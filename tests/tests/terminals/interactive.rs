//! Interactive programs under `run` behave as without it.

use anyhow::{Result, ensure};
use portolan_tests::postgres::{Postgres, psql};
use portolan_tests::{Terminal, TestEnv, isolated, portolan_program, wait_for};

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const CTRL_Z: &str = "\x1a";
const ESCAPE: &str = "\x1b";

/// Types a command line that starts the program by `run`.
fn run(shell: &mut Terminal, program: &str) -> Result<()> {
    let portolan = portolan_program()?;
    shell.enter(&format!("{} -q run --health none -- {program}\r", portolan.display()))
}

/// Stops what runs in the foreground, does something else in the shell, and continues it.
fn stop_and_continue(shell: &mut Terminal) -> Result<()> {
    shell.enter(CTRL_Z)?;
    shell.wait_for("Stopped")?;
    shell.wait_for("shell> ")?;
    shell.enter("echo $((40 + 2))\r")?;
    shell.wait_for("42")?;
    shell.wait_for("shell> ")?;
    shell.enter("fg\r")
}

#[test]
fn interpreter_is_interrupted_stopped_and_continued() {
    isolated(|env| {
        let mut shell = Terminal::shell(env)?;
        run(&mut shell, "python3 -q")?;
        shell.wait_for(">>> ")?;
        shell.enter("while True: pass\r\r")?;
        shell.wait_for("... ")?;
        // Not before the loop runs: until then the line editor would be interrupted.
        shell.enter(CTRL_C)?;
        shell.wait_for("KeyboardInterrupt")?;
        shell.wait_for(">>> ")?;
        stop_and_continue(&mut shell)?;
        shell.enter("\rprint(6 * 7)\r")?;
        shell.wait_for("42")?;
        shell.enter(CTRL_D)?;
        shell.wait_for("shell> ")?;
        shell.enter("echo status $?.\r")?;
        shell.wait_for("status 0.")
    });
}

#[test]
fn psql_cancels_a_query_and_stays() {
    isolated(|env| {
        let _server = Postgres::prepare(env, "data")?.start(env, 5432)?;
        let mut shell = Terminal::shell(env)?;
        run(&mut shell, "psql --no-psqlrc --host 127.0.0.1 --username postgres postgres")?;
        shell.wait_for("postgres=# ")?;
        shell.enter("select pg_sleep(1000);\r")?;
        let queries = "select query from pg_stat_activity where state = 'active'";
        wait_for("the query to run", || {
            let running = psql("127.0.0.1", 5432, queries)?;
            ensure!(running.contains("pg_sleep"), "{running:?}");
            Ok(())
        })?;
        shell.enter(CTRL_C)?;
        shell.wait_for("canceling statement due to user request")?;
        shell.wait_for("postgres=# ")?;
        stop_and_continue(&mut shell)?;
        shell.enter("\rselect 6 * 7 as answer;\r")?;
        shell.wait_for("42")?;
        shell.enter("\\q\r")?;
        shell.wait_for("shell> ")
    });
}

#[test]
fn editor_has_the_whole_terminal() {
    isolated(|env| {
        let mut shell = Terminal::shell(env)?;
        run(&mut shell, "vim -u NONE --cmd 'set nocompatible' note")?;
        shell.wait_for("[New]")?;
        shell.enter("ifirst line")?;
        shell.wait_for("first line")?;
        shell.enter(ESCAPE)?;
        stop_and_continue(&mut shell)?;
        shell.wait_for("first line")?;
        shell.enter("osecond line")?;
        shell.wait_for("second line")?;
        shell.enter(&format!("{ESCAPE}:wq\r"))?;
        shell.wait_for("shell> ")?;
        let text = std::fs::read_to_string(env.directory().join("note"))?;
        ensure!(text == "first line\nsecond line\n", "{text:?}");
        Ok(())
    });
}

#[test]
fn shell_is_told_of_a_program_that_stops_itself_alone() {
    isolated(|env| {
        let mut shell = Terminal::shell(env)?;
        env.write("stops-itself", "kill -STOP $$; echo continued $((40 + 2))")?;
        run(&mut shell, "sh stops-itself")?;
        shell.wait_for("Stopped")?;
        shell.wait_for("shell> ")?;
        shell.enter("fg\r")?;
        shell.wait_for("continued 42")?;
        shell.wait_for("shell> ")
    });
}

#[test]
fn program_gets_no_input_in_the_background_until_it_is_in_the_foreground() {
    isolated(|env| {
        let mut shell = Terminal::shell(env)?;
        env.write("reads", "read -r line; echo \"got $line\"")?;
        let portolan = portolan_program()?;
        shell.enter(&format!("{} -q run --health none -- sh reads &\r", portolan.display()))?;
        wait_for("the program to stop", || {
            let states = states_of(env, "sh reads")?;
            ensure!(states.contains(&'T'), "{states:?}");
            Ok(())
        })?;
        // Text that is typed before the program has the terminal is for the shell.
        shell.wait_for("shell> ")?;
        shell.enter("fg\r")?;
        shell.wait_for("-- sh reads")?;
        wait_for("the program to go on", || {
            let states = states_of(env, "sh reads")?;
            ensure!(!states.contains(&'T'), "{states:?}");
            Ok(())
        })?;
        shell.enter("what is typed\r")?;
        shell.wait_for("got what is typed")
    });
}

#[test]
fn without_a_shell_nothing_stops() {
    isolated(|env| {
        let portolan = portolan_program()?.display().to_string();
        let program = [&portolan, "-q", "run", "--health", "none", "--", "python3", "-q"];
        let mut terminal = Terminal::start(env, 100, &program)?;
        terminal.wait_for(">>> ")?;
        for _ in 0..3 {
            terminal.enter(CTRL_Z)?;
            terminal.enter("\rprint(6 * 7)\r")?;
            terminal.wait_for("42")?;
            terminal.wait_for(">>> ")?;
        }
        terminal.enter(CTRL_D)?;
        terminal.ends()?.exits(0).map(drop)
    });
}

fn states_of(env: &TestEnv, command: &str) -> Result<Vec<char>> {
    let processes = env.processes()?.into_iter().filter(|(_, line)| line == command);
    Ok(processes.filter_map(|(pid, _)| state_of(pid)).collect())
}

fn state_of(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}
