//! `portolan doctor` says what is wrong with a host, and what it says mends it.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use portolan_tests::dns::{DOMAIN, Dns};
use portolan_tests::{PATIENCE, World, isolated, portolan_program};
use serde_json::Value;

/// A stack's settings with a pool where outgoing connections get their ports.
const EXPOSED_POOL: &str =
    "port_allocator:\n  port_ranges:\n    jobs: {start: 40000, end: 40010, default: 40000}\n";
const KEPT: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// Runs the doctor, who finds errors or does not, and returns the findings of one check.
fn findings(world: &World, check: &str, options: &[&str], exit: i32) -> Result<Vec<Value>> {
    let output = world.portolan(&["doctor", "--json"])?.args(options).run()?.exits(exit)?;
    let all: Value = serde_json::from_str(&output.stdout)?;
    let found = all["findings"].as_array().context("no findings")?.iter();
    Ok(found.filter(|finding| finding["check"] == check).cloned().collect())
}

/// The worst finding of a check.
fn worst(world: &World, check: &str, options: &[&str], exit: i32) -> Result<Value> {
    let found = findings(world, check, options, exit)?;
    let rank = |finding: &&Value| match finding["severity"].as_str() {
        Some("ok") => 0,
        Some("warning") => 1,
        _ => 2,
    };
    found.iter().max_by_key(rank).cloned().with_context(|| format!("{check} found nothing"))
}

fn text<'a>(finding: &'a Value, member: &str) -> &'a str {
    finding[member].as_str().unwrap_or_default()
}

fn command(finding: &Value, index: usize) -> Result<&str> {
    finding["commands"][index].as_str().with_context(|| format!("no such command in {finding}"))
}

#[test]
fn a_host_with_a_registry_has_no_errors() {
    isolated(|world| {
        let _registry = world.registry()?;
        let registry = findings(world, "registry", &[], 0)?;
        ensure!(registry.len() == 2, "{registry:?}");
        ensure!(registry.iter().all(|finding| finding["severity"] == "ok"), "{registry:?}");
        for check in ["multicast", "names", "table", "ephemeral", "pools", "default ports"] {
            let found = worst(world, check, &[], 0)?;
            ensure!(found["severity"] == "ok", "{found}");
        }
        // The registry itself holds a port.
        let table = worst(world, "table", &[], 0)?;
        ensure!(text(&table, "evidence").starts_with("1 leases"), "{table}");
        let people = world.portolan(&["doctor", "--problems"])?.run()?.exits(0)?;
        ensure!(people.stderr.contains("0 errors"), "{people:?}");
        Ok(())
    });
}

#[test]
fn a_pool_where_connections_get_their_ports_is_told_with_the_command_that_mends_it() {
    isolated(|world| {
        world.sysctl("net.ipv4.ip_local_port_range", "40000 40011")?;
        world.sysctl("net.ipv4.ip_local_reserved_ports", "39000,45000-45010")?;
        world.write("portolan.yaml", EXPOSED_POOL)?;
        let found = worst(world, "ephemeral", &[], 0)?;
        ensure!(found["severity"] == "warning", "{found}");
        for part in ["jobs", "40000-40010", "40000-40011"] {
            ensure!(text(&found, "evidence").contains(part), "{part} is missing in {found}");
        }
        let mend = command(&found, 0)?.to_owned();
        // The allocator warns by itself, once, with the same command; the doctor's report is enough.
        let alloc = ["ports", "alloc", "job", "--pool", "jobs"];
        let warned = world.portolan(&alloc)?.run()?.exits(0)?;
        ensure!(warned.stderr.matches(&mend).count() == 1, "{mend:?} is not once in {warned:?}");
        let doctor = world.portolan(&["doctor"])?.run()?.exits(0)?;
        ensure!(doctor.stdout.contains(&mend) && !doctor.stderr.contains(&mend), "{doctor:?}");

        world.change_network(&mend)?;
        let kept = fs::read_to_string(KEPT)?;
        ensure!(kept.trim() == "39000,40000-40010,45000-45010", "{kept}");
        ensure!(worst(world, "ephemeral", &[], 0)?["severity"] == "ok");
        let silent = world.portolan(&["ports", "alloc", "job2", "--pool", "jobs"])?.run()?;
        ensure!(!silent.exits(0)?.stderr.contains("sysctl"));
        // What is left of the range is one port, and nobody who asks for any gets another.
        let any = TcpListener::bind("127.0.0.1:0")?;
        ensure!(any.local_addr()?.port() == 40_011);
        ensure!(TcpListener::bind("127.0.0.1:0").is_err(), "a port of the pool was given away");
        Ok(())
    });
}

#[test]
fn the_command_for_the_next_boot_writes_what_the_system_reads_then() {
    isolated(|world| {
        world.write("portolan.yaml", EXPOSED_POOL)?;
        let found = worst(world, "ephemeral", &[], 0)?;
        let file = world.directory().join("60-portolan.conf").display().to_string();
        let lasting = command(&found, 1)?.replace("/etc/sysctl.d/60-portolan.conf", &file);
        ensure!(lasting.contains(&file), "{lasting}");
        world.change_network(&format!("{lasting}; sysctl -p '{file}'"))?;
        ensure!(worst(world, "ephemeral", &[], 0)?["severity"] == "ok");
        Ok(())
    });
}

#[test]
fn whoever_has_the_default_port_of_a_pool_is_named() {
    isolated(|world| {
        let _stranger = world.stranger(5432)?;
        let found = worst(world, "default ports", &[], 0)?;
        ensure!(found["severity"] == "warning", "{found}");
        let own = format!("(pid {}, ", std::process::id());
        for part in ["database: ", &own, "127.0.0.1:5432"] {
            ensure!(text(&found, "evidence").contains(part), "{part} is missing in {found}");
        }
        Ok(())
    });
}

#[test]
fn a_port_that_needs_a_privilege_is_told_with_the_command_that_mends_it() {
    isolated(|world| {
        let file = world.write(
            "portolan.yaml",
            "port_allocator:\n  port_ranges:\n    low: {start: 900, end: 901}\n",
        )?;
        let (exit, found) = unprivileged(world, &file)?;
        ensure!(exit == Some(1) && found["severity"] == "error", "{found}");
        ensure!(text(&found, "evidence").contains("900, 901 in low"), "{found}");
        world.change_network(command(&found, 0)?)?;
        let (exit, found) = unprivileged(world, &file)?;
        ensure!(exit == Some(0) && found["severity"] == "ok", "{found}");
        Ok(())
    });
}

/// What a user sees of the check who may not bind every port, and the doctor's exit status.
fn unprivileged(world: &World, file: &Path) -> Result<(Option<i32>, Value)> {
    let options = ["--bounding-set", "--inh-caps", "--ambient-caps"];
    let mut command = Command::new("setpriv");
    command
        .args(options.map(|option| format!("{option}=-net_bind_service")))
        .arg(portolan_program()?)
        .args(["doctor", "--json", "--config"])
        .arg(file);
    let output = world.spawn("doctor", command)?.wait(PATIENCE)?;
    let all: Value = serde_json::from_str(&output.stdout)?;
    let mut found = all["findings"].as_array().context("no findings")?.iter();
    let found = found.find(|finding| finding["check"] == "privileged").cloned();
    Ok((output.code, found.context("nothing about privileges")?))
}

#[test]
fn a_folder_that_others_may_write_is_an_error_with_its_remedy() {
    isolated(|world| {
        let folder = world.folder("run/portolan")?;
        fs::set_permissions(&folder, Permissions::from_mode(0o770))?;
        let found = worst(world, "folders", &[], 1)?;
        ensure!(found["severity"] == "error", "{found}");
        ensure!(text(&found, "evidence").contains("mode 770"), "{found}");
        ensure!(text(&found, "remedy").contains("chmod 700"), "{found}");
        ensure!(worst(world, "table", &[], 1)?["severity"] == "error");
        fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
        ensure!(worst(world, "folders", &[], 0)?["severity"] == "ok");
        Ok(())
    });
}

#[test]
fn a_child_that_kept_a_port_when_its_parent_was_killed_is_named() {
    isolated(|world| {
        let mut run = world.service("api", &[], &["sh", "-c", "echo up; exec sleep 1000"])?;
        run.line("up")?;
        run.kill()?;
        let found = worst(world, "table", &[], 0)?;
        ensure!(found["severity"] == "warning", "{found}");
        ensure!(text(&found, "evidence").contains("8080 api"), "{found}");
        Ok(())
    });
}

#[test]
fn a_registry_that_is_configured_must_answer_and_one_that_is_not_need_not() {
    isolated(|world| {
        ensure!(worst(world, "registry", &[], 0)?["severity"] == "warning");
        let named = ["--registry", "http://127.0.0.1:7009"];
        let found = worst(world, "registry", &named, 1)?;
        ensure!(found["severity"] == "error", "{found}");
        ensure!(text(&found, "evidence").contains("127.0.0.1:7009"), "{found}");
        Ok(())
    });
}

#[test]
fn an_interface_is_spoken_on_where_it_is_configured_and_not_otherwise() {
    isolated(|world| {
        // Without IPv6 the interface says nothing of its own accord.
        let link = "ip link add net0 type veth peer name net1 && \
                    sysctl -w net.ipv6.conf.net0.disable_ipv6=1 && \
                    ip address add 192.0.2.1/24 dev net0 && \
                    ip link set net0 up && ip link set net1 up && ip route add default dev net0";
        world.change_network(link)?;
        let any = ["--set", "broadcast.interface=0.0.0.0"];
        ensure!(worst(world, "multicast", &any, 0)?["severity"] == "ok");
        ensure!(sent_on("net0")? == 0, "something was sent on an interface that nobody named");
        let named = ["--set", "broadcast.interface=net0"];
        let heard = worst(world, "multicast", &named, 0)?;
        ensure!(heard["severity"] == "ok", "{heard}");
        ensure!(text(&heard, "evidence").contains("loopback and net0"), "{heard}");
        ensure!(sent_on("net0")? > 0);

        world.change_network("ip link set net0 multicast off")?;
        ensure!(worst(world, "interfaces", &any, 0)?["severity"] == "ok");
        let found = worst(world, "interfaces", &named, 1)?;
        ensure!(text(&found, "evidence").contains("net0 (192.0.2.1)"), "{found}");
        world.change_network(command(&found, 0)?)?;
        ensure!(worst(world, "interfaces", &named, 0)?["severity"] == "ok");
        Ok(())
    });
}

/// How many datagrams left by the interface (proc_net(5), `dev`).
fn sent_on(interface: &str) -> Result<u64> {
    let counts = fs::read_to_string("/proc/thread-self/net/dev")?;
    let line = counts.lines().find_map(|line| line.trim().strip_prefix(&format!("{interface}:")));
    let sent = line.and_then(|line| line.split_whitespace().nth(9));
    Ok(sent.context("no such interface")?.parse()?)
}

#[test]
fn name_servers_that_are_configured_are_asked() {
    isolated(|world| {
        let dns = Dns::start(world, 5353, &[])?;
        let settings = format!(
            "discovery:\n  dns:\n    domain: {DOMAIN}\n    servers: [\"{}\"]\n",
            dns.address()
        );
        world.write("portolan.yaml", &settings)?;
        let found = worst(world, "names", &[], 0)?;
        ensure!(found["severity"] == "ok", "{found}");
        drop(dns);
        let found = worst(world, "names", &[], 1)?;
        ensure!(text(&found, "evidence").contains("127.0.0.1:5353"), "{found}");
        Ok(())
    });
}

#[test]
fn settings_that_no_part_can_use_are_an_error() {
    isolated(|world| {
        let found = worst(world, "settings", &["--set", "broadcast.max_datagram=1"], 1)?;
        ensure!(text(&found, "evidence").contains("broadcast.max_datagram"), "{found}");
        Ok(())
    });
}
