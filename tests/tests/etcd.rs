//! Registry servers over etcd.

use anyhow::{Result, ensure};
use portolan_tests::{
    Process, REGISTRY, TIMEOUT, TestEnv, consul, etcd, http, isolated, over_each_store, wait_for,
};
use serde_json::Value;

const BINDER: &str = env!("CARGO_BIN_EXE_late-binder");
/// The second server.
const OTHER: &str = "http://127.0.0.1:7010";

/// Starts a registry server over etcd.
fn serve(env: &TestEnv, url: &str) -> Result<Process> {
    env.quiet_registry(url, &etcd::options())
}

/// Waits until the server has one instance of the service, and returns it.
fn instance(url: &str, name: &str) -> Result<Value> {
    wait_for(&format!("{name} at {url}"), || {
        let answer = http::get_json(&format!("{url}/api/v1/services?name={name}"))?;
        let found = answer["services"].as_array().cloned().unwrap_or_default();
        ensure!(found.len() == 1, "{answer}");
        ensure!(answer["incomplete"] != true, "{answer}");
        Ok(found[0].clone())
    })
}

/// Tests that run over each store are as strict over etcd and Consul only if their registries use them.
#[test]
fn registry_of_a_test_over_each_store_is_over_that_store() {
    over_each_store(|env| {
        let _registry = env.registry()?;
        env.portolan(&["register", "api", "--id", "api-1", "--port", "8080"])?.run()?.exits(0)?;
        let in_etcd = etcd::ctl(&["get", "--prefix", "--keys-only", "/portolan/v1/endpoints/"]);
        let in_consul = consul::ctl(&["kv", "get", "-keys", "portolan/v1/endpoints/"]);
        let found = [&in_etcd, &in_consul].map(|keys| {
            let keys = keys.as_ref().map(String::as_str).unwrap_or_default();
            keys.contains("portolan/v1/endpoints/api-1")
        });
        let expected = match env.store() {
            "etcd" => [true, false],
            "consul" => [false, true],
            _ => [false, false],
        };
        ensure!(found == expected, "over {}: {in_etcd:?} and {in_consul:?}", env.store());
        Ok(())
    });
}

#[test]
fn registration_is_seen_by_every_server_and_survives_the_end_of_all() {
    isolated(|env| {
        let _etcd = etcd::start(env)?;
        let (mut first, mut second) = (serve(env, REGISTRY)?, serve(env, OTHER)?);
        let mut api = env.service("api", &["--ttl", "30s"], &[BINDER, "{port}"])?;
        api.wait_for_line("bound 8080")?;
        env.wait_registered("api", 1, TIMEOUT)?;
        let seen = wait_for("both servers to show the same healthy instance", || {
            let (here, there) = (instance(REGISTRY, "api")?, instance(OTHER, "api")?);
            ensure!(here == there && here["health"] == "passing", "{here} and {there}");
            Ok(there)
        })?;

        first.kill()?;
        second.kill()?;
        let _second = serve(env, OTHER)?;
        let after = instance(OTHER, "api")?;
        for member in ["id", "revision", "registered_at", "incarnation"] {
            ensure!(after[member] == seen[member], "{member}: {after} after {seen}");
        }
        // The agent goes on with its server, and its end is seen by the other.
        let _first = serve(env, REGISTRY)?;
        api.signal(rustix::process::Signal::TERM)?;
        wait_for("the end of api", || {
            let answer = http::get_json(&format!("{OTHER}/api/v1/services?name=api"))?;
            ensure!(answer["services"].as_array().is_some_and(Vec::is_empty), "{answer}");
            Ok(())
        })
    });
}

#[test]
fn server_without_etcd_is_not_ready_and_answers_503_with_a_remedy() {
    isolated(|env| {
        let mut server = env.portolan(&["serve"])?.args(&etcd::options()).spawn("registry")?;
        server.wait_for_line("Feed of the store lost")?;
        ensure!(http::get(&format!("{REGISTRY}/healthz")).is_ok(), "the process lives");
        ensure!(http::get(&format!("{REGISTRY}/readyz")).is_err(), "it is not ready");
        let register = ["register", "api", "--id", "api-1", "--port", "8080"];
        let output = env.portolan(&register)?.run()?.exits(5)?;
        ensure!(
            output.stderr.contains("check that etcd runs at service_registry.etcd.endpoints"),
            "{}",
            output.stderr
        );
        let _etcd = etcd::start(env)?;
        server
            .wait_until("the registry to be ready", || http::get(&format!("{REGISTRY}/readyz")))?;
        env.portolan(&register)?.run()?.exits(0)?;
        let keys = etcd::ctl(&["get", "--prefix", "--keys-only", "/portolan/v1/endpoints/"])?;
        ensure!(keys.trim() == "/portolan/v1/endpoints/api-1", "{keys}");
        Ok(())
    });
}

#[test]
fn clients_learn_the_servers_that_the_given_one_advertises() {
    isolated(|env| {
        let _etcd = etcd::start(env)?;
        let advertising = |url: &str| {
            let advertise = format!("service_registry.advertise_url={url}");
            let options = etcd::options().into_iter().chain(["--set".to_owned(), advertise]);
            env.quiet_registry(url, &options.collect::<Vec<_>>())
        };
        let (mut first, _second) = (advertising(REGISTRY)?, advertising(OTHER)?);
        wait_for("the first server to list both", || {
            let head = http::head(&format!("{REGISTRY}/api/v1/services"))?;
            let listed = head.lines().find_map(|line| line.strip_prefix("portolan-servers: "));
            ensure!(listed.is_some_and(|urls| urls.split(',').count() == 2), "{head}");
            Ok(())
        })?;
        // Both know the first server only.
        let no_broadcast = ["--set", "broadcast.enabled=false"];
        let mut api = env.service("api", &no_broadcast, &[BINDER, "{port}"])?;
        api.wait_for_line("bound 8080")?;
        env.wait_registered("api", 1, TIMEOUT)?;
        let mut watch = env.portolan(&["watch", "--json"])?.args(&no_broadcast).spawn("watch")?;
        watch.wait_for_line("snapshot")?;
        first.kill()?;
        api.signal(rustix::process::Signal::TERM)?;
        watch.wait_for_line("deregistered")?;
        let answer = http::get_json(&format!("{OTHER}/api/v1/services?name=api"))?;
        ensure!(answer["services"].as_array().is_some_and(Vec::is_empty), "{answer}");
        Ok(())
    });
}

/// Checks whether a server is a member.
fn is_member(expected: bool) -> Result<()> {
    let members = etcd::ctl(&["get", "--prefix", "--keys-only", "/portolan/v1/servers/"])?;
    ensure!(members.trim().is_empty() != expected, "{members}");
    Ok(())
}

#[test]
fn pause_of_the_server_does_not_end_leases() {
    isolated(|env| {
        let _etcd = etcd::start(env)?;
        let server = serve(env, REGISTRY)?;
        let register = ["register", "api", "--id", "api-1", "--port", "8080", "--ttl", "3s"];
        env.portolan(&register)?.run()?.exits(0)?;
        wait_for("the server to be a member", || is_member(true))?;
        server.signal(rustix::process::Signal::STOP)?;
        // Its membership lasts longer than the TTL.
        wait_for("the membership to end", || is_member(false))?;
        server.signal(rustix::process::Signal::CONT)?;
        env.portolan(&["heartbeat", "api-1"])?.run()?.exits(0)?;
        env.wait_registered("api", 0, TIMEOUT).map(drop)
    });
}
