//! The end of a program together with its wrapper: only the session tells the registry, because the TTL is an hour.

use anyhow::{Context, Result, ensure};
use portolan_tests::{
    Process, REGISTRY, TIMEOUT, TestEnv, http, isolated, over_each_store, wait_for,
};
use rustix::process::{Pid, Signal, kill_process};

const BINDER: &str = env!("CARGO_BIN_EXE_late-binder");
/// Far longer than a test.
const TTL: [&str; 2] = ["--ttl", "1h"];

/// Starts a service and waits until the registry at this URL has asked its address, so that the end of its session counts.
fn api(env: &TestEnv, url: &str) -> Result<Process> {
    let api =
        env.service("api", &[&TTL[..], &["--registry", url]].concat(), &[BINDER, "{port}"])?;
    wait_for_session(url)?;
    Ok(api)
}

fn wait_for_session(url: &str) -> Result<()> {
    wait_for("the session", || metric(url, "discovery_registry_sessions 1"))
}

fn metric(url: &str, line: &str) -> Result<()> {
    let metrics = http::get(&format!("{url}/metrics"))?;
    ensure!(metrics.lines().any(|it| it == line), "expected {line} in {metrics}");
    Ok(())
}

fn ended(url: &str, instance: &str) -> Result<()> {
    let line = format!("discovery_registry_sessions_ended_total{{instance=\"{instance}\"}} 1");
    wait_for("the session to end", || metric(url, &line))
}

/// Kills the program while its wrapper is stopped and cannot deregister it.
fn kill_program(env: &TestEnv, wrapper: &Process) -> Result<()> {
    wrapper.signal(Signal::STOP)?;
    let processes = env.processes()?;
    let program = processes.iter().find(|(_, line)| line.starts_with(BINDER));
    let id = i32::try_from(program.context("the program has ended")?.0)?;
    kill_process(Pid::from_raw(id).context("no process id")?, Signal::KILL)?;
    wait_for("the program to be gone", || {
        let is_gone = std::net::TcpStream::connect(("127.0.0.1", 8080)).is_err();
        ensure!(is_gone, "it listens");
        Ok(())
    })
}

fn count(url: &str) -> Result<usize> {
    let answer = http::get_json(&format!("{url}/api/v1/services?name=api"))?;
    Ok(answer["services"].as_array().map_or(0, Vec::len))
}

#[test]
fn program_that_is_killed_with_its_wrapper_is_gone_for_all_watchers() {
    over_each_store(|env| {
        let _registry = env.settled_registry()?;
        let watch = env.portolan(&["watch", "api", "--json"])?.spawn("watch")?;
        let mut wrapper = api(env, REGISTRY)?;
        wait_for("the watcher to see it", || {
            ensure!(watch.stdout().contains("registered"), "{}", watch.stdout());
            Ok(())
        })?;
        kill_program(env, &wrapper)?;
        ensure!(count(REGISTRY)? == 1, "only the session tells that it is gone");
        wrapper.kill()?;
        env.wait_registered("api", 0, TIMEOUT)?;
        ended(REGISTRY, "gone")?;
        wait_for("the watcher to see it go", || {
            ensure!(watch.stdout().contains("deregistered"), "{}", watch.stdout());
            Ok(())
        })?;
        env.discover("api", &["--strategy", "registry"])?.exits(3).map(drop)
    });
}

#[test]
fn program_that_goes_on_without_its_wrapper_stays() {
    isolated(|env| {
        let _registry = env.registry()?;
        let mut wrapper = api(env, REGISTRY)?;
        env.stop_shims()?;
        wrapper.kill()?;
        ended(REGISTRY, "alive")?;
        ensure!(count(REGISTRY)? == 1, "it accepts connections");
        env.discover("api", &["--strategy", "registry"])?.exits(0).map(drop)
    });
}

#[test]
fn end_of_the_registry_removes_nothing() {
    isolated(|env| {
        let data = env.folder("data")?;
        let data = format!("service_registry.data_dir={}", data.display());
        for graceful in [true, false] {
            let mut registry = env.quiet_registry(REGISTRY, &["--set", &data])?;
            let mut wrapper = api(env, REGISTRY)?;
            kill_program(env, &wrapper)?;
            if graceful {
                registry.terminate()?;
            } else {
                registry.kill()?;
            }
            wrapper.kill()?;
            let mut registry = env.quiet_registry(REGISTRY, &["--set", &data])?;
            ensure!(count(REGISTRY)? == 1, "no server has asked its address");
            env.portolan(&["deregister", "api@127.0.0.1:8080"])?.run()?.exits(0)?;
            registry.terminate()?;
        }
        Ok(())
    });
}

#[test]
fn agent_opens_a_session_with_the_restarted_registry() {
    isolated(|env| {
        let mut registry = env.registry()?;
        let mut wrapper = api(env, REGISTRY)?;
        registry.kill()?;
        let _registry = env.registry()?;
        wait_for_session(REGISTRY)?;
        kill_program(env, &wrapper)?;
        wrapper.kill()?;
        env.wait_registered("api", 0, TIMEOUT).map(drop)
    });
}

/// The connections of the service to the registry go on, but nothing new reaches it.
#[test]
fn instance_that_does_not_answer_stays() {
    isolated(|env| {
        let (server, service) = (env.host(1)?, env.host(2)?);
        let _registry = server.registry(&[])?;
        let url = server.registry_url();
        let listen = "import socket, time; s = socket.create_server((\"\", 8080)); time.sleep(999)";
        let options = [&TTL[..], &["--registry", &url, "--preferred", "8080"]].concat();
        let mut wrapper = service.service("api", &options, &["python3", "-c", listen])?;
        let metric = |line: &str| {
            let metrics = server.shell("curl -s http://127.0.0.1:7000/metrics")?;
            ensure!(metrics.stdout.lines().any(|it| it == line), "{}", metrics.stdout);
            Ok(())
        };
        wait_for("the session", || metric("discovery_registry_sessions 1"))?;
        server.shell("iptables -A OUTPUT -p tcp --dport 8080 -j DROP")?;
        wrapper.kill()?;
        let silent = "discovery_registry_sessions_ended_total{instance=\"silent\"} 1";
        wait_for("the session to end", || metric(silent))?;
        server.finds("api", &["--strategy", "registry"], &format!("{}:8080", service.address()))
    });
}

#[cfg(feature = "full")]
mod over_etcd {
    use portolan_tests::etcd;

    use super::*;

    const OTHER: &str = "http://127.0.0.1:7010";

    #[test]
    fn end_of_one_server_moves_the_session_to_another_one_and_removes_nothing() {
        isolated(|env| {
            let _etcd = etcd::start(env)?;
            let mut first = env.quiet_registry(REGISTRY, &etcd::options())?;
            let options = [&TTL[..], &["--registry", REGISTRY]].concat();
            let both = format!("{REGISTRY},{OTHER}");
            let options = [&options[..2], &["--registry", &both]].concat();
            let mut wrapper = env.service("api", &options, &[BINDER, "{port}"])?;
            wait_for_session(REGISTRY)?;
            let _second = env.quiet_registry(OTHER, &etcd::options())?;
            first.kill()?;
            wait_for_session(OTHER)?;
            ensure!(count(OTHER)? == 1, "it is alive");
            let first = env.quiet_registry(REGISTRY, &etcd::options())?;
            kill_program(env, &wrapper)?;
            wrapper.kill()?;
            for url in [OTHER, REGISTRY] {
                wait_for("it to be gone from every server", || {
                    ensure!(count(url)? == 0, "still registered at {url}");
                    Ok(())
                })?;
            }
            drop(first);
            Ok(())
        });
    }
}
