//! Clients that request everything and read nothing.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use portolan_tests::{Process, REGISTRY, http, isolated, wait_for};
use serde_json::json;

const ENDPOINTS: usize = 10_000;
const BATCH: usize = 250;
const READERS: usize = 400;
const MIB: usize = 1024 * 1024;
/// What all readers together may cost: the budget of responses and as much again.
const BOUND: usize = 256 * MIB;

/// The resident memory of a process in bytes.
fn resident(process: &Process) -> Result<usize> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: usize = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}

/// The number of open descriptors of a process.
fn descriptors(process: &Process) -> Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{}/fd", process.id()))?.count())
}

/// Registers endpoints of about 3 KB each.
fn fill() -> Result<()> {
    let client = http::client()?;
    let filler = "x".repeat(250);
    let metadata: serde_json::Map<_, _> =
        (0..10).map(|key| (format!("key-{key}"), json!(filler))).collect();
    for batch in 0..ENDPOINTS / BATCH {
        let operation = |number: usize| {
            let service = json!({
                "name": format!("service-{}", number % 100), "host": format!("10.0.{}.{}", number / 200, number % 200 + 1),
                "port": 8080, "ttl": "1h", "metadata": metadata,
            });
            json!({"op": "register", "service": service})
        };
        let operations: Vec<_> = (batch * BATCH..(batch + 1) * BATCH).map(operation).collect();
        let request = client
            .post(format!("{REGISTRY}/api/v1/batch"))
            .json(&json!({"operations": operations}));
        let response = request.timeout(Duration::from_secs(60)).send()?;
        ensure!(response.status().is_success(), "{response:?}");
    }
    Ok(())
}

#[test]
fn readers_that_do_not_read_cost_bounded_memory_which_is_given_back() {
    isolated(|env| {
        let registry = env.quiet_registry::<&str>(REGISTRY, &[])?;
        fill()?;
        let size = http::client()?
            .get(format!("{REGISTRY}/api/v1/services"))
            .timeout(Duration::from_secs(60))
            .send()?
            .bytes()?
            .len();
        ensure!(size > 25 * MIB, "{size}");
        let before = resident(&registry)?;
        let mut readers = Vec::new();
        for number in 0..READERS {
            let path = if number % 2 == 0 { "/api/v1/services" } else { "/api/v1/watch" };
            let mut stream = TcpStream::connect("127.0.0.1:7000")?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
            readers.push(stream);
        }
        // Each has an answer that is not read: the rest of it, or that there is no memory for it.
        for stream in &mut readers {
            stream.set_read_timeout(Some(Duration::from_secs(60)))?;
            stream.peek(&mut [0])?;
        }
        let during = resident(&registry)?;
        println!(
            "{size} bytes to {READERS} readers: {} MiB, before {} MiB",
            during / MIB,
            before / MIB
        );
        ensure!(during < before + BOUND, "{before} {during}");
        // Those that make no progress are given up by the server, although they keep their ends open.
        wait_for("the end of the readers", || {
            let open = descriptors(&registry)?;
            ensure!(open < READERS / 2, "{open} descriptors");
            Ok(())
        })?;
        let listing = http::get_json(&format!("{REGISTRY}/api/v1/services?limit=3"))?;
        ensure!(listing["services"].as_array().is_some_and(|services| services.len() == 3));
        ensure!(listing["next"].is_string(), "{listing}");
        let after = resident(&registry)?;
        println!("after: {} MiB", after / MIB);
        ensure!(after < before + BOUND / 2, "{before} {after}");
        drop(readers);
        Ok(())
    });
}
