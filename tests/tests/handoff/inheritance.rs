//! Inherited descriptors, and the lease after the wrapper or the program ended.

use anyhow::{Context, Result, ensure};
use portolan_tests::port::{bind_is_refused_everywhere, listener, listeners};
use portolan_tests::{Process, TestEnv, isolated, redis, servers, wait_for};
use rustix::process::{Pid, Signal, kill_process};

use super::{NAME, PORT, expect_greeting, started_pid};

/// A program that prints the sockets that it inherited and then sleeps.
const PRINT_SOCKETS: &str = "
import os, socket, time
values = [os.environ[name] for name in ('LISTEN_FDS', 'LISTEN_FDNAMES', 'PORT', 'PORT_METRICS')]
own = os.environ['LISTEN_PID'] == str(os.getpid())
print('inherited', *values, 'own' if own else 'not its own')
for number in range(3, 3 + int(values[0])):
    one = socket.socket(fileno=number)
    kind = 'tcp' if one.type == socket.SOCK_STREAM else 'udp'
    listens = one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    print('socket', number, kind, one.getsockname()[1], 'listens' if listens else 'is bound')
print('end', flush=True)
time.sleep(1000)
";

/// A program that closes every inherited descriptor, as a daemon does, and then listens.
const CLOSE_DESCRIPTORS: &str = "
import os, socket
os.closerange(3, 4096)
server = socket.create_server(('127.0.0.1', int(os.environ['PORT'])))
while True:
    server.accept()
";

/// Returns the port that is granted to another service with the same preference.
fn granted_port(env: &TestEnv) -> Result<u64> {
    let alloc = ["ports", "alloc", "other", "--preferred", "8080", "--pool", "api", "--json"];
    let lease = env.portolan(&alloc)?.run()?.json()?;
    lease["port"].as_u64().context("no port")
}

/// Sends SIGKILL to the started program and waits for its end.
fn kill_program(env: &TestEnv, run: &Process) -> Result<()> {
    let id: i32 = started_pid(run)?.parse()?;
    kill_process(Pid::from_raw(id).context("no process id")?, Signal::KILL)?;
    wait_for("the end of the program", || {
        let there = env.processes()?.iter().any(|(other, _)| i32::try_from(*other) == Ok(id));
        ensure!(!there, "it is still there");
        Ok(())
    })
}

#[test]
fn program_inherits_every_requested_socket() {
    isolated(|env| {
        let options =
            ["--handoff", "socket", "--port", "metrics=9100", "--udp", "--health", "none", "-v"];
        let mut run = env.service(NAME, &options, &servers::python(&["-c", PRINT_SOCKETS])?)?;
        run.wait_for_line("end")?;
        let output = run.stdout();
        let expected = "inherited 4 web-api:web-api:metrics:metrics 8080 9100 own\n\
                        socket 3 tcp 8080 listens\nsocket 4 udp 8080 is bound\n\
                        socket 5 tcp 9100 listens\nsocket 6 udp 9100 is bound\nend\n";
        ensure!(output == expected, "{output}");
        let found = env.discover(NAME, &["--json"])?.json()?;
        ensure!(found["metadata"]["port.metrics"] == "9100", "{found}");
        Ok(())
    });
}

/// Checks that the port is not granted while the program lives, and is granted after its end.
fn lease_ends_with_the_program(env: &TestEnv, run: &Process) -> Result<()> {
    ensure!(granted_port(env)? != u64::from(PORT), "the port of a living program was granted");
    kill_program(env, run)?;
    // Without a wait: the kernel releases the lock when the process ends.
    let port = granted_port(env)?;
    ensure!(port == u64::from(PORT), "granted {port}");
    Ok(())
}

#[test]
fn program_keeps_serving_and_keeps_its_lease_after_run_is_killed() {
    isolated(|env| {
        let options = ["--handoff", "socket", "-v"];
        let mut run = env.service(NAME, &options, &servers::axum()?)?;
        run.wait_until("a response", || expect_greeting("axum"))?;
        env.stop_shims()?;
        run.kill()?;
        expect_greeting("axum")?;
        lease_ends_with_the_program(env, &run)
    });
}

#[test]
fn guard_lives_as_long_as_the_program() {
    isolated(|env| {
        let mut run = env.service(NAME, &["-v"], &redis::command("{port}")?)?;
        run.wait_for_line("handoff=guard")?;
        run.wait_until("a response", || redis::ping(PORT))?;
        env.stop_shims()?;
        run.kill()?;
        redis::ping(PORT)?;
        // Redis listens on 127.0.0.1 only; the guard holds the other addresses.
        bind_is_refused_everywhere(PORT)?;
        lease_ends_with_the_program(env, &run)
    });
}

#[test]
fn program_that_closes_inherited_descriptors_keeps_its_port() {
    isolated(|env| {
        let options = ["--handoff", "guard", "-v"];
        let mut run = env.service(NAME, &options, &servers::python(&["-c", CLOSE_DESCRIPTORS])?)?;
        // It listens after it has closed the descriptors.
        run.wait_until("the program's listener", || listener(PORT))?;
        env.stop_shims()?;
        run.kill()?;
        let listed = env.portolan(&["ports", "list", "--json"])?.run()?.json()?;
        ensure!(listed["ports"].as_array().is_some_and(Vec::is_empty), "still held: {listed}");
        // The reservation is gone, but the program's listener still occupies the port.
        let port = granted_port(env)?;
        ensure!(port == u64::from(PORT) + 1, "granted {port}");
        ensure!(listener(PORT)?.pid.to_string() == started_pid(&run)?);
        Ok(())
    });
}

#[test]
fn script_that_reuses_low_descriptors_keeps_its_lease() {
    isolated(|env| {
        let script = "exec 3>three 4>four 5>&- 6>&- 7>&- 8>&- 9>&-; echo ready; sleep 1000";
        let options = ["--health", "none", "-v"];
        let mut run = env.service(NAME, &options, &["sh", "-c", script])?;
        run.wait_for_line("ready")?;
        env.stop_shims()?;
        run.kill()?;
        ensure!(granted_port(env)? != u64::from(PORT), "the port of a living program was granted");
        Ok(())
    });
}

#[test]
fn concurrently_started_programs_do_not_inherit_each_others_sockets() {
    isolated(|env| {
        let services: String = (1..=6)
            .map(|number| {
                format!("  api-{number}: {{command: sleep 1000, handoff: socket, health: none}}\n")
            })
            .collect();
        env.write("portolan.yaml", &format!("services:\n{services}"))?;
        let mut up = env.portolan(&["up", "-v"])?.spawn("up")?;
        for port in PORT..PORT + 6 {
            up.wait_until("one owner of each socket", || {
                let owners = listeners(port)?;
                ensure!(owners.len() == 1, "{port} belongs to {owners:?}");
                Ok(())
            })?;
        }
        up.terminate().map(drop)
    });
}
