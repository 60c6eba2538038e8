//! Invalid input is rejected with its place and a remedy, and the process keeps running.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Result, ensure};
use portolan_tests::{REGISTRY, TIMEOUT, http, isolated, metrics, wait_for};
use serde_json::{Value, json};

const BINDER: &str = env!("CARGO_BIN_EXE_late-binder");

#[test]
fn unknown_setting_is_reported_with_line_and_suggestion() {
    isolated(|env| {
        let file = env.write("bad.yaml", "discovery:\n  timeouts:\n    overal: 5s\n")?;
        let check = env.portolan(&["config", "check"])?.arg(&file).run()?.exits(2)?;
        for part in ["bad.yaml", "3", "overal", "overall"] {
            ensure!(check.stderr.contains(part), "{part} is missing in {check:#?}");
        }
        let serve = env.portolan(&["serve", "--config"])?.arg(&file).run()?;
        serve.exits(2).map(drop)
    });
}

#[test]
fn invalid_value_is_reported_with_its_place_and_remedy() {
    isolated(|env| {
        let file = env.write("bad.yaml", "discovery:\n  cache:\n    max_entries: 0\n")?;
        let check = env.portolan(&["config", "check"])?.arg(&file).run()?.exits(2)?;
        let expected = "bad.yaml:3:18: discovery.cache.max_entries: must be greater than zero";
        ensure!(check.stderr.contains(expected), "{check:#?}");
        ensure!(
            check.stderr.contains("remedy: set discovery.cache.enabled to false"),
            "{check:#?}"
        );
        let list =
            env.portolan(&["list", "--set", "service_registry.history=0"])?.run()?.exits(2)?;
        let expected = "flag --set: service_registry.history: 0 is out of bounds";
        ensure!(list.stderr.contains(expected), "{list:#?}");
        Ok(())
    });
}

#[test]
fn unknown_command_is_a_usage_error() {
    isolated(|env| {
        let answer = env.portolan(&["discovr", "api"])?.run()?.exits(2)?;
        ensure!(answer.stderr.contains("discover"), "{answer:#?}");
        Ok(())
    });
}

#[test]
fn invalid_port_or_name_is_a_usage_error() {
    isolated(|env| {
        for port in ["0", "70000", "-1", "http"] {
            env.portolan(&["register", "api", "--port", port])?.run()?.exits(2)?;
        }
        for name in ["", "a b", "-x", "ä"] {
            env.portolan(&["discover", "--", name])?.run()?.exits(2)?;
        }
        Ok(())
    });
}

/// Posts a body to the registry and returns the status and problem document.
fn post(body: String) -> Result<(u16, Value)> {
    let request = http::client()?.post(format!("{REGISTRY}/api/v1/services"));
    let answer = request.header("content-type", "application/json").body(body).send()?;
    let (status, kind) = (answer.status().as_u16(), answer.headers().get("content-type").cloned());
    let text = answer.text()?;
    let problem = kind.as_ref().is_some_and(|kind| kind == "application/problem+json");
    ensure!(problem, "{status} with {kind:?}: {text}");
    Ok((status, serde_json::from_str(&text)?))
}

#[test]
fn registry_rejects_invalid_bodies_and_stays_ready() {
    isolated(|env| {
        let _registry = env.registry()?;
        let with = |name: &str, port: u64| json!({"name": name, "host": "127.0.0.1", "port": port});
        for (body, place) in [
            (with("api", 0).to_string(), "port"),
            (with("api", 70_000).to_string(), "port"),
            (with("", 8080).to_string(), "name"),
            (r#"{"name": "api", "host": "127."#.to_owned(), "line"),
        ] {
            let (status, problem) = post(body)?;
            ensure!((400..500).contains(&status), "{status}: {problem}");
            let detail = problem["detail"].as_str().unwrap_or_default();
            ensure!(detail.contains(place), "{place} is missing in {problem}");
        }
        ensure!(huge_body()?.contains(" 413 "), "a body of 10 MB was accepted");
        http::get(&format!("{REGISTRY}/readyz")).map(drop)
    });
}

/// Returns the status line for a body of 10 MB. The server may respond and close before it has
/// read the whole body, which HTTP clients report as an error.
fn huge_body() -> Result<String> {
    let size = 10 * 1024 * 1024;
    let mut stream = TcpStream::connect("127.0.0.1:7000")?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let head =
        "POST /api/v1/services HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    write!(stream, "{head}content-length: {size}\r\n\r\n")?;
    let mut sender = stream.try_clone()?;
    let sending = std::thread::spawn(move || sender.write_all(&vec![b' '; size]));
    let mut status = [0; 32];
    stream.read_exact(&mut status)?;
    stream.shutdown(std::net::Shutdown::Both)?;
    // The write fails if the server closed first, which is correct.
    let _ = sending.join();
    Ok(String::from_utf8_lossy(&status).into_owned())
}

#[test]
fn malformed_datagrams_are_counted_and_change_nothing() {
    isolated(|env| {
        let _registry = env.registry()?;
        let mut api = env.service("api", &[], &[BINDER, "{port}"])?;
        api.wait_for_line("bound 8080")?;
        env.wait_registered("api", 1, TIMEOUT)?;
        let early = br#"{"version":"1.0","type":"service_announcement","action":"register","serv"#;
        let scrambled = |n: u32| n.wrapping_mul(2_654_435_761).to_be_bytes()[0];
        let random: Vec<u8> = (0..1400).map(scrambled).collect();
        for datagram in [&random[..], early, b"", &[0xff; 9000]] {
            env.multicast(datagram)?;
        }
        wait_for("the datagrams to be counted as dropped", || {
            let page = http::get(&format!("{REGISTRY}/metrics"))?;
            let dropped = r#"discovery_broadcast_errors_total{type="receive"}"#;
            ensure!(metrics::value(&page, dropped) >= 4.0, "{page}");
            Ok(())
        })?;
        ensure!(env.registered("api")?.len() == 1);
        let found = env.discover("api", &["--strategy", "broadcast"])?.text()?;
        ensure!(found == "127.0.0.1:8080", "{found}");
        http::get(&format!("{REGISTRY}/readyz")).map(drop)
    });
}
