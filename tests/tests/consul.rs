//! Registry servers over Consul.

use std::time::Duration;

use anyhow::{Result, ensure};
use portolan_tests::{
    Process, REGISTRY, TIMEOUT, TestEnv, consul, http, isolated, wait_for, wait_within,
};
use serde_json::Value;

const BINDER: &str = env!("CARGO_BIN_EXE_late-binder");
/// The second server.
const OTHER: &str = "http://127.0.0.1:7010";

/// Starts a registry server over Consul.
fn serve(env: &TestEnv, url: &str) -> Result<Process> {
    env.quiet_registry(url, &consul::options())
}

/// Waits until the server has so many instances of the service, and returns them.
fn instances(url: &str, name: &str, count: usize) -> Result<Vec<Value>> {
    wait_for(&format!("{count} of {name} at {url}"), || {
        let answer = http::get_json(&format!("{url}/api/v1/services?name={name}"))?;
        let found = answer["services"].as_array().cloned().unwrap_or_default();
        ensure!(found.len() == count && answer["incomplete"] != true, "{answer}");
        Ok(found)
    })
}

/// Waits until Consul considers so many instances of a service healthy, and returns them.
fn in_consul(name: &str, count: usize) -> Result<Vec<Value>> {
    wait_within(2 * TIMEOUT, &format!("{count} of {name} in Consul"), || {
        let found = consul::passing(name)?;
        ensure!(found.len() == count, "{found:?}");
        Ok(found)
    })
}

#[test]
fn service_is_seen_by_every_server_and_by_consul_and_survives_the_end_of_all() {
    isolated(|env| {
        let _consul = consul::start(env)?;
        let (mut first, mut second) = (serve(env, REGISTRY)?, serve(env, OTHER)?);
        let mut api = env.service("api", &["--ttl", "30s"], &[BINDER, "{port}"])?;
        api.wait_for_line("bound 8080")?;
        env.wait_registered("api", 1, TIMEOUT)?;
        let seen = wait_for("both servers to show the same healthy instance", || {
            let (here, there) = (instances(REGISTRY, "api", 1)?, instances(OTHER, "api", 1)?);
            ensure!(here == there && here[0]["health"] == "passing", "{here:?} and {there:?}");
            Ok(there)
        })?;
        let found = &in_consul("api", 1)?[0]["Service"];
        ensure!(found["Port"] == 8080 && found["Meta"]["portolan-id"] == seen[0]["id"], "{found}");

        first.kill()?;
        second.kill()?;
        let _second = serve(env, OTHER)?;
        let after = instances(OTHER, "api", 1)?;
        for member in ["id", "revision", "registered_at", "incarnation"] {
            ensure!(after[0][member] == seen[0][member], "{member}: {after:?} after {seen:?}");
        }
        // The agent goes on with its server, and its end is seen by the other, and by Consul.
        let _first = serve(env, REGISTRY)?;
        api.signal(rustix::process::Signal::TERM)?;
        instances(OTHER, "api", 0)?;
        in_consul("api", 0).map(drop)
    });
}

#[test]
fn service_of_consul_is_listed_and_discovered() {
    isolated(|env| {
        let _consul = consul::start(env)?;
        let _server = serve(env, REGISTRY)?;
        let address = ["-name", "db", "-id", "db-1", "-address", "127.0.0.1", "-port", "5432"];
        consul::ctl(&[&["services", "register"], &address[..]].concat())?;
        instances(REGISTRY, "db", 1)?;
        let found = env.portolan(&["discover", "db"])?.run()?.exits(0)?;
        ensure!(found.stdout.contains("127.0.0.1:5432"), "{}", found.stdout);
        let listed = env.portolan(&["list", "db"])?.run()?.exits(0)?;
        for text in ["consul:node-1:db-1", "127.0.0.1:5432", " consul "] {
            ensure!(listed.stdout.contains(text), "{text}: {}", listed.stdout);
        }
        let refused = env.portolan(&["deregister", "consul:node-1:db-1"])?.run()?;
        let expected = "is registered in Consul: service db-1 of node node-1";
        ensure!(refused.stderr.contains(expected), "{}", refused.stderr);
        consul::ctl(&["services", "deregister", "-id", "db-1"])?;
        instances(REGISTRY, "db", 0).map(drop)
    });
}

#[test]
fn server_without_consul_is_not_ready_and_answers_503_with_a_remedy() {
    isolated(|env| {
        let mut server = env.portolan(&["serve"])?.args(&consul::options()).spawn("registry")?;
        server.wait_for_line("Feed of the store lost")?;
        ensure!(http::get(&format!("{REGISTRY}/healthz")).is_ok(), "the process lives");
        ensure!(http::get(&format!("{REGISTRY}/readyz")).is_err(), "it is not ready");
        let register = ["register", "api", "--id", "api-1", "--port", "8080"];
        let output = env.portolan(&register)?.run()?.exits(5)?;
        let remedy = "check that a Consul agent runs at service_registry.consul.url";
        ensure!(output.stderr.contains(remedy), "{}", output.stderr);
        let _consul = consul::start(env)?;
        server
            .wait_until("the registry to be ready", || http::get(&format!("{REGISTRY}/readyz")))?;
        env.portolan(&register)?.run()?.exits(0)?;
        let keys = consul::ctl(&["kv", "get", "-keys", "portolan/v1/endpoints/"])?;
        ensure!(keys.trim() == "portolan/v1/endpoints/api-1", "{keys}");
        Ok(())
    });
}

#[test]
fn pause_of_the_server_does_not_end_leases() {
    isolated(|env| {
        let _consul = consul::start(env)?;
        let server = serve(env, REGISTRY)?;
        let members = || {
            let url = format!("{}/v1/kv/portolan/v1/feed/servers/?keys", consul::CONSUL);
            http::get(&url).is_ok()
        };
        let is_member = |expected: bool| {
            wait_within(2 * TIMEOUT, &format!("membership {expected}"), || {
                ensure!(members() == expected, "membership is {}", !expected);
                Ok(())
            })
        };
        let register = ["register", "api", "--id", "api-1", "--port", "8080", "--ttl", "3s"];
        env.portolan(&register)?.run()?.exits(0)?;
        is_member(true)?;
        server.signal(rustix::process::Signal::STOP)?;
        // Its membership lasts longer than the TTL.
        is_member(false)?;
        server.signal(rustix::process::Signal::CONT)?;
        env.portolan(&["heartbeat", "api-1"])?.run()?.exits(0)?;
        env.wait_registered("api", 0, TIMEOUT + Duration::from_secs(5)).map(drop)
    });
}
