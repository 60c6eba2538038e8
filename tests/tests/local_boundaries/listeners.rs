//! Another user listens on the port of a service.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use portolan_tests::{Process, SHORT_BROADCAST_WAIT, TIMEOUT, TestEnv, isolated};

use super::{
    ALICE, BOB, NAME, NOBODY, PORT, User, accessible, accessible_program, unprivileged_server,
};

/// Starts a service of the user. Its program is `sleep`, which never listens, unless one is given.
fn service(user: &User<'_>, options: &[&str], program: &[&str]) -> Result<Process> {
    let program = if program.is_empty() { &["sleep", "1000"] } else { program };
    let arguments = [&["run", "--name", NAME, "-v"], options, &["--"], program].concat();
    user.env.spawn("run", user.portolan(&arguments)?)
}

fn late_binder(env: &TestEnv) -> Result<String> {
    accessible(env, env!("CARGO_BIN_EXE_late-binder"), "late-binder")
}

/// Waits until the service has moved away from the thief, whose user the log names.
fn leaves_the_port_to(run: &mut Process, by: &str) -> Result<()> {
    let line = run.wait_for_line("Foreign process listens")?;
    ensure!(line.contains(&format!("port={PORT}")) && line.contains(by), "{line}");
    run.wait_for_line(&format!("port={}", PORT + 1)).map(drop)
}

/// Checks that no client of the user gets the address.
fn is_not_found_at(user: &User<'_>, address: &str) -> Result<()> {
    for arguments in [&["discover", NAME][..], &["list"]] {
        let arguments = [arguments, &SHORT_BROADCAST_WAIT].concat();
        let found = user.env.spawn("client", user.portolan(&arguments)?)?.wait(TIMEOUT)?;
        ensure!(!found.stdout.contains(address), "{arguments:?}: {found:?}");
    }
    Ok(())
}

#[test]
fn thief_beside_the_guard_is_not_announced() {
    isolated(|env| {
        let (alice, bob) = (User::new(env, ALICE)?, User::new(env, BOB)?);
        let mut run = service(&alice, &["--handoff", "guard", "--preferred", "8080"], &[])?;
        run.wait_for_line("handoff=guard")?;
        let _thief = bob.thief("127.0.0.1", PORT)?;
        leaves_the_port_to(&mut run, &format!("of user {BOB}"))?;
        is_not_found_at(&alice, &format!("127.0.0.1:{PORT}"))?;
        ensure!(!run.output().contains(&format!("{NAME} at")), "{}", run.output());
        Ok(())
    });
}

#[test]
fn lease_whose_port_another_user_listens_on_is_no_evidence() {
    isolated(|env| {
        let (alice, bob) = (User::new(env, ALICE)?, User::new(env, BOB)?);
        // Nothing watches the port of this lease.
        let alloc = ["ports", "alloc", NAME, "--preferred", "8080", "--owner", "1"];
        let granted = env.spawn("alloc", alice.portolan(&alloc)?)?.wait(TIMEOUT)?.text()?;
        ensure!(granted == PORT.to_string(), "{granted}");
        let _thief = bob.thief("127.0.0.1", PORT)?;
        is_not_found_at(&alice, &format!("127.0.0.1:{PORT}"))
    });
}

#[test]
fn lease_of_another_user_is_not_released() {
    isolated(|env| {
        let (alice, bob) = (User::new(env, ALICE)?, User::new(env, BOB)?);
        let alloc = ["ports", "alloc", NAME, "--preferred", "8080", "--owner", "1", "--json"];
        let held = env.spawn("alloc", alice.portolan(&alloc)?)?.wait(TIMEOUT)?.json()?;
        let lease = held["lease"].as_str().context("no lease")?;
        let release = |user: &User<'_>| {
            let command = user.portolan(&["ports", "release", lease])?;
            env.spawn("release", command)?.wait(TIMEOUT)
        };
        let refused = release(&bob)?.exits(6)?;
        ensure!(refused.stderr.contains(&format!("belongs to user {ALICE}")), "{refused:?}");
        ensure!(refused.stderr.contains(&format!("remedy: release it as {ALICE}")), "{refused:?}");
        // It was still held.
        release(&alice)?.exits(0)?;
        release(&alice)?.exits(1).map(drop)
    });
}

#[test]
fn thief_at_another_address_of_the_port_is_not_announced() {
    isolated(|env| {
        env.change_network("ip address add 10.99.0.1/32 dev lo")?;
        let (alice, bob) = (User::new(env, ALICE)?, User::new(env, BOB)?);
        let options = ["--handoff", "guard", "--preferred", "8080"];
        let _thief = {
            let server = late_binder(env)?;
            let go = "while ! test -e go; do sleep 0.02; done; exec \"$@\"";
            let program = ["sh", "-c", go, "sh", &server, "{port}"];
            let mut run = service(&alice, &options, &program)?;
            run.wait_for_line("handoff=guard")?;
            let thief = bob.thief("10.99.0.1", PORT)?;
            std::fs::write(alice.home.join("go"), "")?;
            leaves_the_port_to(&mut run, &format!("of user {BOB}"))?;
            run.wait_for_line(&format!("{NAME} at 127.0.0.1:{}", PORT + 1))?;
            is_not_found_at(&alice, "10.99.0.1")?;
            thief
        };
        Ok(())
    });
}

#[test]
fn thief_of_a_service_without_a_health_check_is_not_announced() {
    isolated(|env| {
        let (alice, bob) = (User::new(env, ALICE)?, User::new(env, BOB)?);
        let options = ["--handoff", "guard", "--preferred", "8080", "--health", "none"];
        let mut run = service(&alice, &options, &[])?;
        run.wait_for_line("handoff=guard")?;
        let _thief = bob.thief("127.0.0.1", PORT)?;
        leaves_the_port_to(&mut run, &format!("of user {BOB}"))
    });
}

#[test]
fn thief_is_recognised_where_proc_hides_the_processes_of_others() {
    isolated(|env| {
        env.change_network("mount -o remount,hidepid=2 /proc")?;
        let (alice, bob) = (User::new(env, ALICE)?, User::new(env, BOB)?);
        let options = ["--handoff", "guard", "--preferred", "8080"];
        let mut run = service(&alice, &options, &[])?;
        run.wait_for_line("handoff=guard")?;
        let _thief = bob.thief("127.0.0.1", PORT)?;
        leaves_the_port_to(&mut run, &format!("of user {BOB}"))?;
        let server = late_binder(env)?;
        let mut own = service(&alice, &["--handoff", "guard"], &[&server, "{port}"])?;
        own.wait_for_line(&format!("{NAME} at 127.0.0.1:")).map(drop)
    });
}

/// A command of root without the right to see the sockets of other users, as in most containers.
fn without_ptrace(env: &TestEnv, program: &[String]) -> Result<Process> {
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace", "--"]);
    command.arg(accessible_program(env)?);
    command.args(["run", "--name", NAME, "-v", "--handoff", "guard", "--preferred", "8080"]);
    command.arg("--").args(program);
    env.spawn("run", command)
}

#[test]
fn program_that_dropped_its_privileges_is_announced() {
    isolated(|env| {
        let program = unprivileged_server(env)?;
        let options = ["--handoff", "guard", "--preferred", "8080", "-v"];
        let mut run = env.service(NAME, &options, &program)?;
        run.wait_for_line(&format!("{NAME} at 127.0.0.1:{PORT}"))?;
        drop(run);
        // Without the right to see its sockets its user is enough.
        let mut run = without_ptrace(env, &program)?;
        run.wait_for_line(&format!("{NAME} at 127.0.0.1:{PORT}")).map(drop)
    });
}

#[test]
fn thief_is_recognised_without_the_right_to_see_sockets() {
    isolated(|env| {
        let (_, bob) = (User::new(env, NOBODY)?, User::new(env, BOB)?);
        let words = ["sh", "-c", "exec setpriv --reuid=65534 --clear-groups sleep 1000"];
        let mut run = without_ptrace(env, &words.map(str::to_owned))?;
        run.wait_for_line("handoff=guard")?;
        let _thief = bob.thief("127.0.0.1", PORT)?;
        leaves_the_port_to(&mut run, &format!("of user {BOB}"))
    });
}

#[test]
fn two_users_are_not_told_that_both_have_the_same_port() {
    isolated(|env| {
        let server = late_binder(env)?;
        let users = [User::new(env, ALICE)?, User::new(env, BOB)?];
        let options = ["--handoff", "number", "--preferred", "8080"];
        let start = |user: &User<'_>| service(user, &options, &[&server, "{port}"]);
        let mut runs = [start(&users[0])?, start(&users[1])?];
        let mut told = Vec::new();
        for run in &mut runs {
            let line = run.wait_for_line(&format!("{NAME} at 127.0.0.1:"))?;
            told.push(line.rsplit(':').next().context("no port")?.to_owned());
        }
        ensure!(told[0] != told[1], "both were told {told:?}");
        Ok(())
    });
}
