//! `portolan ports list` and `portolan ports check`.

use std::net::{TcpListener, UdpSocket};

use anyhow::{Context, Result, ensure};
use portolan_tests::{TestEnv, isolated};
use serde_json::Value;

fn json(env: &TestEnv, words: &[&str], exit: i32) -> Result<Value> {
    let output = env.portolan(words)?.arg("--json").run()?.exits(exit)?;
    serde_json::from_str(&output.stdout).with_context(|| output.stdout)
}

fn array<'a>(value: &'a Value, member: &str) -> Result<&'a Vec<Value>> {
    value[member].as_array().with_context(|| format!("no {member} in {value}"))
}

fn rules(report: &Value) -> Result<Vec<&str>> {
    Ok(array(report, "rules")?.iter().filter_map(|rule| rule["rule"].as_str()).collect())
}

#[test]
fn list_shows_each_lease_and_each_foreign_listener_once() {
    isolated(|env| {
        let alloc = ["ports", "alloc", "api", "--port-name", "http", "--range", "8081-8085"];
        json(env, &alloc, 0)?;
        // A listener beside the guard, as the leased program would be, and two foreign ones.
        let _server = TcpListener::bind(("127.0.0.1", 8081))?;
        let _foreign = env.foreign_listener(9999)?;
        let _receiver = UdpSocket::bind(("127.0.0.1", 9998))?;
        let own = std::process::id();

        let listed = json(env, &["ports", "list"], 0)?;
        let leases = array(&listed, "ports")?;
        ensure!(leases.len() == 1 && leases[0]["port"] == 8081, "{listed}");
        ensure!(leases[0]["port_name"] == "http" && leases[0]["service"] == "api", "{listed}");
        ensure!(leases[0]["listeners"][0]["process"]["pid"] == own, "{listed}");
        let foreign: Vec<_> = array(&listed, "foreign")?
            .iter()
            .map(|it| (&it["port"], &it["protocol"], &it["address"], &it["process"]["pid"]))
            .map(|(port, protocol, address, pid)| format!("{port} {protocol} {address} {pid}"))
            .collect();
        let expected = [(9998, "udp"), (9999, "tcp")]
            .map(|(port, protocol)| format!("{port} \"{protocol}\" \"127.0.0.1\" {own}"));
        ensure!(foreign == expected, "{listed}");

        let text = env.portolan(&["ports", "list"])?.run()?.text()?;
        for part in ["api:http", "8081", "9998", "udp", "9999"] {
            ensure!(text.contains(part), "{part} is missing in\n{text}");
        }
        let leased = env.portolan(&["ports", "list", "--leased"])?.run()?.text()?;
        ensure!(leased.contains("8081") && !leased.contains("9999"), "{leased}");
        Ok(())
    });
}

#[test]
fn claimed_port_is_verified_when_its_program_listens() {
    isolated(|env| {
        let alloc = ["ports", "alloc", "api", "--depth", "claimed", "--bind", "loopback", "--udp"];
        ensure!(json(env, &alloc, 0)?["port"] == 8080);
        let before = json(env, &["ports", "check", "8080"], 4)?;
        ensure!(before["holder"]["depth"] == "claimed", "{before}");
        ensure!(before["holder"]["protocol"] == "tcp+udp", "{before}");
        ensure!(array(&before, "listeners")?.is_empty(), "{before}");
        let text = env.portolan(&["ports", "check", "8080"])?.run()?.exits(4)?.stdout;
        ensure!(text.contains("listener: none"), "{text}");

        // A claimed port has no guard socket: the program can bind any address.
        let _program = TcpListener::bind(("0.0.0.0", 8080))?;
        let after = json(env, &["ports", "check", "8080"], 4)?;
        let listeners = array(&after, "listeners")?;
        ensure!(listeners[0]["process"]["pid"] == std::process::id(), "{after}");
        ensure!(listeners[0]["address"] == "0.0.0.0", "{after}");
        // Another service gets another port.
        ensure!(json(env, &["ports", "alloc", "api2", "--pool", "api"], 0)?["port"] == 8081);
        Ok(())
    });
}

#[test]
fn check_reports_every_rule_for_a_port() {
    isolated(|env| {
        env.sysctl("net.ipv4.ip_local_port_range", "40000 40100")?;
        env.sysctl("net.ipv4.ip_local_reserved_ports", "40050")?;
        let file = "port_allocator:\n  reserved_ports: [22, 6001]\n  port_ranges:\n    \
                    api: {start: 6660, end: 6670}\n    jobs: {start: 40000, end: 40100}\n";
        env.write("portolan.yaml", file)?;
        for (port, exit, state, expected) in [
            ("22", 4, "reserved", &["reserved", "privileged", "refused_by_browsers"][..]),
            ("40000", 0, "free", &["ephemeral"]),
            ("40050", 0, "free", &["reserved_by_system"]),
            ("6001", 4, "reserved", &["reserved"]),
            ("7777", 0, "free", &[]),
        ] {
            let report = json(env, &["ports", "check", port], exit)?;
            ensure!(rules(&report)? == expected, "{report}");
            ensure!(report["state"] == state, "{report}");
        }
        let restricted =
            ["ports", "check", "7777", "--set", "port_allocator.restrict_to_ranges=true"];
        ensure!(json(env, &restricted, 4)?["state"] == "outside");
        // If the port is in a pool with HTTP services, the rule names the pool.
        let report = json(env, &["ports", "check", "6667"], 0)
            .or_else(|_| json(env, &["ports", "check", "6667"], 4))?;
        ensure!(report["rules"][0]["pools"][0] == "api", "{report}");
        let text = env.portolan(&["ports", "check", "40000"])?.run()?.text()?;
        ensure!(text.contains("pools: jobs") && text.contains("40000-40100"), "{text}");
        Ok(())
    });
}

#[test]
fn alloc_honours_its_options() {
    isolated(|env| {
        let alloc =
            |words: &[&str], exit| json(env, &[&["ports", "alloc", "x"], words].concat(), exit);
        ensure!(alloc(&["--range", "8301-8302"], 0)?["port"] == 8301);
        let _in_udp = UdpSocket::bind(("127.0.0.1", 8302))?;
        // The port is free in TCP and in use in UDP.
        alloc(&["--range", "8302-8302", "--udp"], 4)?;
        ensure!(alloc(&["--range", "8302-8302"], 0)?["port"] == 8302);
        alloc(&[], 2)?;
        let any = alloc(&["--allow-ephemeral"], 0)?["port"].as_u64().unwrap_or_default();
        ensure!(any >= 32_768, "{any}");
        for wrong in [&["--depth", "bound"][..], &["--bind", "nowhere"], &["--range", "9-1"]] {
            alloc(wrong, 2)?;
        }
        Ok(())
    });
}

#[test]
fn wait_ends_when_a_process_listens() {
    isolated(|env| {
        let timed_out = env.portolan(&["ports", "wait", "8400", "--timeout", "50ms"])?.run()?;
        ensure!(timed_out.exits(124)?.stderr.contains("portolan ports check 8400"));
        // A guard does not listen.
        json(env, &["ports", "alloc", "api", "--range", "8400-8400"], 0)?;
        let leased = env.portolan(&["ports", "wait", "8400", "--timeout", "50ms"])?.run()?;
        ensure!(leased.exits(124)?.stderr.contains("leased to api"));

        let mut waiting = env.portolan(&["ports", "wait", "8400"])?.spawn("wait")?;
        let _server = TcpListener::bind(("127.0.0.1", 8400))?;
        let printed = waiting.wait(portolan_tests::TIMEOUT)?.exits(0)?.stdout;
        ensure!(printed.contains("127.0.0.1:8400 (tcp)"), "{printed}");
        let udp = ["ports", "wait", "8400", "--udp", "--timeout", "0s"];
        env.portolan(&udp)?.run()?.exits(124)?;
        let _receiver = UdpSocket::bind(("127.0.0.1", 8400))?;
        let found = json(env, &["ports", "wait", "8400", "--udp"], 0)?;
        ensure!(found["listeners"][0]["process"]["pid"] == std::process::id(), "{found}");
        Ok(())
    });
}

#[test]
fn port_that_is_in_use_for_udp_only_is_free_for_tcp() {
    isolated(|env| {
        let _in_udp = UdpSocket::bind(("127.0.0.1", 8401))?;
        let tcp = json(env, &["ports", "check", "8401"], 0)?;
        ensure!(tcp["state"] == "free", "{tcp}");
        let both = json(env, &["ports", "check", "8401", "--udp"], 4)?;
        ensure!(both["state"] == "taken", "{both}");
        ensure!(both["bound_by"]["process"]["pid"] == std::process::id(), "{both}");
        Ok(())
    });
}
