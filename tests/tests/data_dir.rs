//! The data directory of the registry: what was acknowledged survives SIGKILL, and a full disk.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use portolan_tests::{Process, REGISTRY, TIMEOUT, TestEnv, http, isolated};
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

/// How many clients write at the same time.
const WRITERS: u64 = 64;
/// How often the registry is killed; `PORTOLAN_KILLS` sets another number.
const KILLS: u64 = 25;

/// Starts `portolan serve` over a data directory.
fn serve(env: &TestEnv, data: &Path) -> Result<Process> {
    env.quiet_registry(REGISTRY, &[OsStr::new("--data-dir"), data.as_os_str()])
}

/// A registration that was not acknowledged.
#[derive(Debug)]
struct Refused {
    id: String,
    version: u64,
    status: u16,
}

/// Registers one instance after the other until one is refused. Returns the versions of those that were acknowledged, too.
fn register_until_refused(
    connection: &mut BufReader<TcpStream>,
) -> Result<(BTreeMap<String, u64>, Refused)> {
    let mut acknowledged = BTreeMap::new();
    for version in 1..10_000 {
        let id = format!("api-{version}");
        match register(connection, &id, version)? {
            201 => _ = acknowledged.insert(id, version),
            status => return Ok((acknowledged, Refused { id, version, status })),
        }
    }
    bail!("no registration was refused")
}

/// Registers an instance and returns the status of the answer.
fn register(connection: &mut BufReader<TcpStream>, id: &str, version: u64) -> Result<u16> {
    let body = json!({
        "name": "api", "host": "10.0.0.7", "port": 1 + version % 60_000, "version": version.to_string(),
        "ttl": "24h",
    });
    let body = body.to_string();
    let request = format!(
        "PUT /api/v1/services/{id} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.get_mut().write_all(request.as_bytes())?;
    answer(connection)
}

/// Reads an answer to its end and returns its status.
fn answer(connection: &mut BufReader<TcpStream>) -> Result<u16> {
    let (mut status, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        ensure!(connection.read_line(&mut line)? > 0, "the connection was closed");
        let line = line.trim_end();
        match line.split_once(':') {
            _ if line.is_empty() => break,
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse()?;
            }
            _ if status.is_none() => status = line.split(' ').nth(1).map(str::parse).transpose()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    status.context("an answer without a status")
}

/// Registers ever newer versions of one instance until the registry ends. Returns the last one that was acknowledged.
fn write_until_the_end(writer: u64, version: &AtomicU64) -> Option<(String, u64)> {
    let id = format!("api-{writer}");
    let connection = TcpStream::connect("127.0.0.1:7000").ok()?;
    connection.set_read_timeout(Some(TIMEOUT)).ok()?;
    let (mut connection, mut acknowledged) = (BufReader::new(connection), None);
    loop {
        let version = version.fetch_add(1, Ordering::Relaxed);
        match register(&mut connection, &id, version) {
            Ok(200 | 201) => acknowledged = Some((id.clone(), version)),
            _ => return acknowledged,
        }
    }
}

/// Checks that the registry has at least the acknowledged version of each instance.
fn check(acknowledged: &BTreeMap<String, u64>) -> Result<()> {
    let listing = http::get_json(&format!("{REGISTRY}/api/v1/services"))?;
    let services = listing["services"].as_array().context("a list")?;
    let stored = |endpoint: &Value| -> Option<(String, u64)> {
        Some((endpoint["id"].as_str()?.to_owned(), endpoint["version"].as_str()?.parse().ok()?))
    };
    let stored: BTreeMap<_, _> = services.iter().filter_map(stored).collect();
    for (id, version) in acknowledged {
        let found = stored.get(id);
        ensure!(
            found >= Some(version),
            "{id}: version {version} was acknowledged, {found:?} is stored"
        );
    }
    Ok(())
}

#[test]
fn every_acknowledged_registration_survives_kills_at_any_moment() {
    isolated(|env| {
        let kills = std::env::var("PORTOLAN_KILLS").ok().map(|kills| kills.parse());
        let data = env.directory().join("data");
        let (version, mut acknowledged) = (AtomicU64::new(1), BTreeMap::new());
        for kill in 0..kills.transpose()?.unwrap_or(KILLS) {
            let mut registry = serve(env, &data)?;
            check(&acknowledged).with_context(|| format!("after {kill} kills"))?;
            let (before, version) = (version.load(Ordering::Relaxed), &version);
            let written = std::thread::scope(|scope| -> Result<Vec<_>> {
                let writers: Vec<_> = (0..WRITERS)
                    .map(|writer| scope.spawn(move || write_until_the_end(writer, version)))
                    .collect();
                // After another number of writes each time, from the first to a thousand.
                let count = 1 + kill * kill * 7 % 1_001;
                registry.wait_until("some writes", || {
                    let written = version.load(Ordering::Relaxed) - before;
                    ensure!(written >= count, "{written} of {count}");
                    Ok(())
                })?;
                registry.kill()?;
                Ok(writers.into_iter().filter_map(|writer| writer.join().ok()?).collect())
            })?;
            acknowledged.extend(written);
        }
        let _registry = serve(env, &data)?;
        ensure!(acknowledged.len() as u64 == WRITERS, "{acknowledged:?}");
        check(&acknowledged)
    });
}

#[test]
fn file_beyond_the_size_limit_rejects_a_write_and_does_not_end_the_registry() {
    isolated(|env| {
        let mut registry = serve(env, &env.folder("data")?)?;
        let limit = rustix::process::Rlimit { current: Some(100_000), maximum: Some(100_000) };
        let pid = Pid::from_raw(i32::try_from(registry.id())?);
        rustix::process::prlimit(pid, rustix::process::Resource::Fsize, limit)?;
        let mut connection = BufReader::new(TcpStream::connect("127.0.0.1:7000")?);
        connection.get_ref().set_read_timeout(Some(TIMEOUT))?;
        let (acknowledged, refused) = register_until_refused(&mut connection)?;
        ensure!(refused.status == 503, "{refused:?}");
        // A new file begins, so that it accepts writes again.
        registry.wait_until("the registry to accept writes", || {
            let status = register(&mut connection, "api-1", 1)?;
            ensure!(status == 200, "{status}");
            Ok(())
        })?;
        check(&acknowledged)
    });
}

#[test]
fn full_disk_rejects_writes_and_keeps_serving_until_there_is_space() {
    isolated(|env| {
        let data = env.folder("data")?;
        let mount = ["-t", "tmpfs", "-o", "size=128k", "tmpfs"];
        let mut command = std::process::Command::new("mount");
        command.args(mount).arg(&data);
        env.spawn("mount", command)?.wait(TIMEOUT)?.exits(0)?;
        let registry = serve(env, &data)?;
        let connect = || -> Result<_> {
            let connection = TcpStream::connect("127.0.0.1:7000")?;
            connection.set_read_timeout(Some(TIMEOUT))?;
            Ok(BufReader::new(connection))
        };
        let mut connection = connect()?;
        // Each registration takes some hundred bytes.
        let (mut acknowledged, refused) = register_until_refused(&mut connection)?;
        let Refused { id, version, status } = refused;
        ensure!(status == 503, "a full disk is no fault of the request: {status}");
        // Reads, heartbeats and health reports go on.
        check(&acknowledged)?;
        let absent = http::client()?.get(format!("{REGISTRY}/api/v1/services/{id}")).send()?;
        ensure!(absent.status() == 404, "a rejected registration is not visible");
        let known = format!("{REGISTRY}/api/v1/services/api-1");
        let beat = http::client()?.put(format!("{known}/heartbeat")).send()?;
        ensure!(beat.status() == 204, "{beat:?}");
        let report = json!({"status": "critical", "reason": "refused"}).to_string();
        let health = http::client()?.put(format!("{known}/health"));
        let health = health.header("content-type", "application/json").body(report).send()?;
        ensure!(health.status().is_success(), "{health:?}");
        ensure!(http::get_json(&known)?["health"] == "critical");
        let call = env.portolan(&["register", "web", "--port", "81"])?.run()?;
        ensure!(call.stderr.contains("read-only"), "{}", call.stderr);
        ensure!(call.stderr.contains("free space"), "{}", call.stderr);

        is_read_only(env, Some("No space left on device"))?;

        let mut remount = std::process::Command::new("mount");
        remount.args(["-o", "remount,size=16m"]).arg(&data);
        env.spawn("remount", remount)?.wait(TIMEOUT)?.exits(0)?;
        let mut registry = registry;
        registry.wait_until("the registry to accept writes", || {
            let status = register(&mut connect()?, &id, version)?;
            ensure!(status == 201, "{status}");
            Ok(())
        })?;
        acknowledged.insert(id, version);
        is_read_only(env, None)?;
        registry.kill()?;
        let _registry = serve(env, &data)?;
        check(&acknowledged)?;
        ensure!(http::get_json(&format!("{REGISTRY}/api/v1/services"))?["incomplete"] != true);
        ensure!(
            http::get_json(&known)?["health"] == "critical",
            "the snapshot has what changed meanwhile"
        );
        Ok(())
    });
}

/// Checks that the registry says everywhere that it is read-only, and why; or nowhere.
fn is_read_only(env: &TestEnv, reason: Option<&str>) -> Result<()> {
    let ready = http::get_json(&format!("{REGISTRY}/readyz"))?;
    let says = |text: &str| reason.is_some_and(|reason| text.contains(reason));
    let stated = ready["read_only"].as_str();
    ensure!(
        stated.is_some_and(says) == reason.is_some() && stated.is_some() == reason.is_some(),
        "{ready}"
    );
    let metrics = http::get(&format!("{REGISTRY}/metrics"))?;
    let gauge = format!("discovery_registry_read_only {}", u8::from(reason.is_some()));
    ensure!(metrics.lines().any(|line| line == gauge), "{metrics}");
    let doctor = env.portolan(&["doctor", "--problems"])?.run()?;
    let finding = "the registry cannot write its data directory, and rejects registrations";
    ensure!(doctor.stdout.contains(finding) == reason.is_some(), "{}", doctor.stdout);
    ensure!(reason.is_none() || says(&doctor.stdout), "{}", doctor.stdout);
    Ok(())
}

#[test]
fn removed_directory_is_noticed_and_filled_again_once_it_is_back() {
    isolated(|env| {
        let data = env.directory().join("data");
        let mut registry = serve(env, &data)?;
        let register = |id: &str| {
            env.portolan(&["register", "api", "--id", id, "--host", "10.0.0.7", "--port", "8080"])?
                .args(&["--ttl", "1h"])
                .run()
        };
        register("api-1")?.exits(0)?;
        std::fs::remove_dir_all(&data)?;
        let refused = register("api-2")?.exits(5)?;
        ensure!(refused.stderr.contains("was removed or replaced"), "{}", refused.stderr);
        // It does not come back by itself: it may be where a disk is to be mounted.
        registry.wait_for_line("Journal cannot be written, the registry is read-only")?;
        registry.wait_until("the directory to be missed", || {
            is_read_only(env, Some("No such file or directory"))
        })?;
        std::fs::create_dir(&data)?;
        registry.wait_until("the registry to accept writes", || is_read_only(env, None))?;
        register("api-3")?.exits(0)?;
        registry.kill()?;
        let _registry = serve(env, &data)?;
        let listing = http::get_json(&format!("{REGISTRY}/api/v1/services"))?;
        let services = listing["services"].as_array().context("a list")?;
        // The third one displaced the first one at its address.
        ensure!(services.len() == 1 && services[0]["id"] == "api-3", "{listing}");
        Ok(())
    });
}

#[test]
fn directory_that_cannot_be_used_is_an_error_with_a_remedy_that_fits() {
    isolated(|env| {
        env.write("file", "")?;
        let mount = ["-t", "tmpfs", "-o", "ro", "tmpfs"];
        let mut command = std::process::Command::new("mount");
        command.args(mount).arg(env.folder("read-only")?);
        env.spawn("mount", command)?.wait(TIMEOUT)?.exits(0)?;
        for (path, expected) in [
            ("~/registry", "begins with ~, which only a shell replaces"),
            ("file", "something else has this name"),
            ("file/registry", "something else has this name"),
            ("read-only/registry", "mount its file system for writing"),
        ] {
            let output = env.portolan(&["serve", "--data-dir", path])?.run()?;
            ensure!(output.code == Some(2) || output.code == Some(1), "{output:?}");
            ensure!(output.stderr.contains(expected), "{}", output.stderr);
        }
        ensure!(!env.directory().join("~").exists(), "no directory is called ~");
        Ok(())
    });
}

#[test]
fn pause_of_the_registry_and_its_services_drops_nothing() {
    isolated(|env| {
        let data = env.directory().join("data");
        let mut registry = serve(env, &data)?;
        let service =
            env.service("api", &["--ttl", "2s", "--health", "none"], &["sleep", "1000"])?;
        env.wait_registered("api", 1, TIMEOUT)?;
        let call = env.portolan(&["watch", "api", "--json"])?.spawn("watch")?;
        registry.signal(Signal::STOP)?;
        service.signal_group(Signal::STOP)?;
        // Longer than the TTL and the slack of expiry, which is what is tried here.
        std::thread::sleep(Duration::from_secs(5));
        registry.signal(Signal::CONT)?;
        registry.wait_until("the pause to be noticed", || {
            let api = env.registered("api")?;
            ensure!(api.len() == 1, "{api:?}");
            let reason = api[0]["health_reason"].as_str().unwrap_or_default().to_owned();
            ensure!(reason.contains("paused"), "{api:?}");
            Ok(())
        })?;
        service.signal_group(Signal::CONT)?;
        registry.wait_until("a heartbeat", || {
            let api = env.registered("api")?;
            ensure!(api.len() == 1 && api[0]["health_reason"].is_null(), "{api:?}");
            Ok(())
        })?;
        ensure!(!call.stdout().contains("expired"), "{}", call.stdout());
        Ok(())
    });
}
