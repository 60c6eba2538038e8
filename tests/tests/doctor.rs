//! `portolan doctor` reports what is wrong with a host, and its commands fix it.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use portolan_tests::dns::{DOMAIN, Dns};
use portolan_tests::{TIMEOUT, TestEnv, isolated, portolan_program};
use serde_json::Value;

/// Settings with a pool inside the ephemeral range.
const EXPOSED_POOL: &str =
    "port_allocator:\n  port_ranges:\n    jobs: {start: 40000, end: 40010, default: 40000}\n";
const KEPT: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// Runs `portolan doctor` and returns the findings of one check.
fn findings(env: &TestEnv, check: &str, options: &[&str], exit: i32) -> Result<Vec<Value>> {
    let output = env.portolan(&["doctor", "--json"])?.args(options).run()?.exits(exit)?;
    let all: Value = serde_json::from_str(&output.stdout)?;
    let found = all["findings"].as_array().context("no findings")?.iter();
    Ok(found.filter(|finding| finding["check"] == check).cloned().collect())
}

/// Returns the most severe finding of a check.
fn worst(env: &TestEnv, check: &str, options: &[&str], exit: i32) -> Result<Value> {
    let found = findings(env, check, options, exit)?;
    let rank = |finding: &&Value| match finding["severity"].as_str() {
        Some("ok") => 0,
        Some("warning") => 1,
        _ => 2,
    };
    found.iter().max_by_key(rank).cloned().with_context(|| format!("{check} has no finding"))
}

fn text<'a>(finding: &'a Value, member: &str) -> &'a str {
    finding[member].as_str().unwrap_or_default()
}

fn command(finding: &Value, index: usize) -> Result<&str> {
    finding["commands"][index].as_str().with_context(|| format!("no such command in {finding}"))
}

#[test]
fn doctor_reports_no_errors_with_a_registry() {
    isolated(|env| {
        let _registry = env.registry()?;
        let registry = findings(env, "registry", &[], 0)?;
        ensure!(registry.len() == 2, "{registry:?}");
        ensure!(registry.iter().all(|finding| finding["severity"] == "ok"), "{registry:?}");
        for check in [
            "multicast",
            "name_resolution",
            "reservation_table",
            "ephemeral_overlap",
            "pool_overlap",
            "default_ports",
        ] {
            let found = worst(env, check, &[], 0)?;
            ensure!(found["severity"] == "ok", "{found}");
        }
        // The registry itself holds a port.
        let table = worst(env, "reservation_table", &[], 0)?;
        ensure!(text(&table, "evidence").starts_with("1 leases"), "{table}");
        let text_output = env.portolan(&["doctor", "--problems"])?.run()?.exits(0)?;
        ensure!(text_output.stderr.contains("0 errors"), "{text_output:?}");
        Ok(())
    });
}

#[test]
fn ephemeral_overlap_is_reported_with_a_working_command() {
    isolated(|env| {
        env.sysctl("net.ipv4.ip_local_port_range", "40000 40011")?;
        env.sysctl("net.ipv4.ip_local_reserved_ports", "39000,45000-45010")?;
        env.write("portolan.yaml", EXPOSED_POOL)?;
        let found = worst(env, "ephemeral_overlap", &[], 0)?;
        ensure!(found["severity"] == "warning", "{found}");
        for part in ["jobs", "40000-40010", "40000-40011"] {
            ensure!(text(&found, "evidence").contains(part), "{part} is missing in {found}");
        }
        let fix = command(&found, 0)?.to_owned();
        // The allocator logs the same command once; `doctor` does not repeat it on standard error.
        let alloc = ["ports", "alloc", "job", "--pool", "jobs"];
        let warned = env.portolan(&alloc)?.run()?.exits(0)?;
        ensure!(warned.stderr.matches(&fix).count() == 1, "{fix:?} is not once in {warned:?}");
        let doctor = env.portolan(&["doctor"])?.run()?.exits(0)?;
        ensure!(doctor.stdout.contains(&fix) && !doctor.stderr.contains(&fix), "{doctor:?}");

        env.change_network(&fix)?;
        let kept = fs::read_to_string(KEPT)?;
        ensure!(kept.trim() == "39000,40000-40010,45000-45010", "{kept}");
        ensure!(worst(env, "ephemeral_overlap", &[], 0)?["severity"] == "ok");
        let silent = env.portolan(&["ports", "alloc", "job2", "--pool", "jobs"])?.run()?;
        ensure!(!silent.exits(0)?.stderr.contains("sysctl"));
        // One port of the ephemeral range is left, and a bind to port 0 gets no other.
        let any = TcpListener::bind("127.0.0.1:0")?;
        ensure!(any.local_addr()?.port() == 40_011);
        ensure!(TcpListener::bind("127.0.0.1:0").is_err(), "the kernel chose a port of the pool");
        Ok(())
    });
}

#[test]
fn persistent_sysctl_command_takes_effect() {
    isolated(|env| {
        env.write("portolan.yaml", EXPOSED_POOL)?;
        let found = worst(env, "ephemeral_overlap", &[], 0)?;
        let file = env.directory().join("60-portolan.conf").display().to_string();
        let lasting = command(&found, 1)?.replace("/etc/sysctl.d/60-portolan.conf", &file);
        ensure!(lasting.contains(&file), "{lasting}");
        env.change_network(&format!("{lasting}; sysctl -p '{file}'"))?;
        ensure!(worst(env, "ephemeral_overlap", &[], 0)?["severity"] == "ok");
        Ok(())
    });
}

#[test]
fn process_on_a_pools_default_port_is_named() {
    isolated(|env| {
        let _foreign = env.foreign_listener(5432)?;
        let found = worst(env, "default_ports", &[], 0)?;
        ensure!(found["severity"] == "warning", "{found}");
        let own = format!("(pid {}, ", std::process::id());
        for part in ["database: ", &own, "127.0.0.1:5432"] {
            ensure!(text(&found, "evidence").contains(part), "{part} is missing in {found}");
        }
        Ok(())
    });
}

#[test]
fn privileged_port_is_reported_with_a_working_command() {
    isolated(|env| {
        let file = env.write(
            "portolan.yaml",
            "port_allocator:\n  port_ranges:\n    low: {start: 900, end: 901}\n",
        )?;
        let (exit, found) = unprivileged(env, &file)?;
        ensure!(exit == Some(1) && found["severity"] == "error", "{found}");
        ensure!(text(&found, "evidence").contains("900, 901 in low"), "{found}");
        env.change_network(command(&found, 0)?)?;
        let (exit, found) = unprivileged(env, &file)?;
        ensure!(exit == Some(0) && found["severity"] == "ok", "{found}");
        Ok(())
    });
}

/// Runs the check without CAP_NET_BIND_SERVICE; returns the exit status and the finding.
fn unprivileged(env: &TestEnv, file: &Path) -> Result<(Option<i32>, Value)> {
    let options = ["--bounding-set", "--inh-caps", "--ambient-caps"];
    let mut command = Command::new("setpriv");
    command
        .args(options.map(|option| format!("{option}=-net_bind_service")))
        .arg(portolan_program()?)
        .args(["doctor", "--json", "--config"])
        .arg(file);
    let output = env.spawn("doctor", command)?.wait(TIMEOUT)?;
    let all: Value = serde_json::from_str(&output.stdout)?;
    let mut found = all["findings"].as_array().context("no findings")?.iter();
    let found = found.find(|finding| finding["check"] == "privileged_ports").cloned();
    Ok((output.code, found.context("no finding of privileged_ports")?))
}

#[test]
fn writable_directory_is_an_error_with_a_remedy() {
    isolated(|env| {
        let folder = env.folder("run/portolan")?;
        fs::set_permissions(&folder, Permissions::from_mode(0o770))?;
        let found = worst(env, "directories", &[], 1)?;
        ensure!(found["severity"] == "error", "{found}");
        ensure!(text(&found, "evidence").contains("mode 770"), "{found}");
        ensure!(text(&found, "remedy").contains("chmod 700"), "{found}");
        ensure!(worst(env, "reservation_table", &[], 1)?["severity"] == "error");
        fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
        ensure!(worst(env, "directories", &[], 0)?["severity"] == "ok");
        Ok(())
    });
}

#[test]
fn orphaned_lease_holder_is_named() {
    isolated(|env| {
        let mut run = env.service("api", &[], &["sh", "-c", "echo up; exec sleep 1000"])?;
        run.wait_for_line("up")?;
        env.stop_shims()?;
        run.kill()?;
        let found = worst(env, "reservation_table", &[], 0)?;
        ensure!(found["severity"] == "warning", "{found}");
        ensure!(text(&found, "evidence").contains("8080 api"), "{found}");
        Ok(())
    });
}

#[test]
fn only_a_configured_registry_must_respond() {
    isolated(|env| {
        ensure!(worst(env, "registry", &[], 0)?["severity"] == "warning");
        let named = ["--registry", "http://127.0.0.1:7009"];
        let found = worst(env, "registry", &named, 1)?;
        ensure!(found["severity"] == "error", "{found}");
        ensure!(text(&found, "evidence").contains("127.0.0.1:7009"), "{found}");
        Ok(())
    });
}

#[test]
fn multicast_is_tested_on_every_interface_of_the_channel() {
    isolated(|env| {
        // With IPv6 the kernel itself would send packets on the interface.
        let link = "ip link add net0 type veth peer name net1 && \
                    sysctl -w net.ipv6.conf.net0.disable_ipv6=1 && \
                    ip address add 192.0.2.1/24 dev net0 && \
                    ip link set net0 up && ip link set net1 up && ip route add default dev net0";
        env.change_network(link)?;
        let any = ["--set", "broadcast.interface=0.0.0.0"];
        ensure!(worst(env, "multicast", &[], 0)?["severity"] == "ok");
        ensure!(sent_on("net0")? == 0, "a packet was sent on an interface that is not configured");
        let heard = worst(env, "multicast", &any, 0)?;
        ensure!(text(&heard, "evidence").contains("loopback and net0"), "{heard}");
        ensure!(sent_on("net0")? > 0);
        let named = ["--set", "broadcast.interface=net0"];
        let heard = worst(env, "multicast", &named, 0)?;
        ensure!(heard["severity"] == "ok", "{heard}");
        ensure!(text(&heard, "evidence").contains("loopback and net0"), "{heard}");

        env.change_network("ip address del 192.0.2.1/24 dev net0")?;
        let found = worst(env, "multicast", &any, 0)?;
        ensure!(text(&found, "what").contains("reaches this host only"), "{found}");
        ensure!(found["severity"] == "warning", "{found}");
        env.change_network("ip address add 192.0.2.1/24 dev net0")?;
        env.change_network("ip link set net0 multicast off")?;
        ensure!(worst(env, "interfaces", &any, 0)?["severity"] == "ok");
        let unused = worst(env, "multicast", &any, 0)?;
        ensure!(text(&unused, "what").contains("reaches this host only"), "{unused}");
        let found = worst(env, "interfaces", &named, 1)?;
        ensure!(text(&found, "evidence").contains("net0 (192.0.2.1)"), "{found}");
        env.change_network(command(&found, 0)?)?;
        ensure!(worst(env, "interfaces", &named, 0)?["severity"] == "ok");
        Ok(())
    });
}

/// Returns how many packets were sent on the interface (proc_net(5), `dev`).
fn sent_on(interface: &str) -> Result<u64> {
    let counts = fs::read_to_string("/proc/thread-self/net/dev")?;
    let line = counts.lines().find_map(|line| line.trim().strip_prefix(&format!("{interface}:")));
    let sent = line.and_then(|line| line.split_whitespace().nth(9));
    Ok(sent.context("no such interface")?.parse()?)
}

#[test]
fn configured_name_servers_are_queried() {
    isolated(|env| {
        let dns = Dns::start(env, 5353, &[])?;
        let settings = format!(
            "discovery:\n  dns:\n    domain: {DOMAIN}\n    servers: [\"{}\"]\n",
            dns.address()
        );
        env.write("portolan.yaml", &settings)?;
        let found = worst(env, "name_resolution", &[], 0)?;
        ensure!(found["severity"] == "ok", "{found}");
        drop(dns);
        let found = worst(env, "name_resolution", &[], 1)?;
        ensure!(text(&found, "evidence").contains("127.0.0.1:5353"), "{found}");
        Ok(())
    });
}

#[test]
fn invalid_settings_are_an_error() {
    isolated(|env| {
        let found = worst(env, "settings", &["--set", "broadcast.max_datagram=1"], 1)?;
        ensure!(text(&found, "evidence").contains("broadcast.max_datagram"), "{found}");
        Ok(())
    });
}
