//! A registry with a token and a key on its channel, and another host that sends forged datagrams.

use anyhow::{Result, ensure};
use portolan_tests::{Host, isolated, wait_for};

const SETTINGS: [&str; 2] = ["--set", "service_registry.ttl_default=2s"];
const KEY: (&str, &str) = ("PORTOLAN_BROADCAST_KEY", "a key that only the hosts of this test know");
const TOKEN: &str = "only-this-test-knows-it";
const FORGED: u32 = 200_000;
/// Datagrams a second, so that the queue of the socket has room for a genuine one among them.
const RATE: u32 = 20_000;
const DROPPED: &str = "discovery_broadcast_dropped_total{";
const FORGER: &str = include_str!("../src/forger.py");

/// Returns the number of datagrams that the registry on this host has dropped.
fn dropped(host: &Host<'_>) -> Result<f64> {
    let page = host.shell(&format!(
        "curl -sf -H 'Authorization: Bearer {TOKEN}' http://127.0.0.1:7000/metrics"
    ))?;
    let counters = page.stdout.lines().filter(|line| line.starts_with(DROPPED));
    let counts = counters.filter_map(|line| line.split_whitespace().last()?.parse::<f64>().ok());
    Ok(counts.sum())
}

/// Returns the number of datagrams that the kernel dropped, because the queue of the channel's socket was full.
fn overflowed(host: &Host<'_>) -> Result<f64> {
    let sockets = host.shell("cat /proc/net/udp")?.stdout;
    let channel = sockets.lines().filter(|line| line.contains("0100FFEF:1B59"));
    let drops = channel.filter_map(|line| line.split_whitespace().last()?.parse::<f64>().ok());
    Ok(drops.sum())
}

#[test]
fn forged_datagrams_are_all_dropped_and_counted() {
    isolated(|env| {
        let (registry_host, owner, forger) = (env.host(1)?, env.host(2)?, env.host(3)?);
        let script = env.write("forger.py", FORGER)?.display().to_string();
        let captured = env.directory().join("captured").display().to_string();
        let arguments = [&["serve", "--listen", "[::]:7000"], &SETTINGS[..]].concat();
        let serve = registry_host.portolan(&arguments)?.env("PORTOLAN_TOKEN", TOKEN);
        let mut registry = serve.env(KEY.0, KEY.1).spawn("registry")?;
        registry.wait_until("the registry to be ready", || dropped(&registry_host))?;

        let mut capture = forger.spawn("capture", &["python3", &script, "capture", &captured])?;
        capture.wait_for_line("listening")?;
        let announce_as = |name: &str, action: &str| -> Result<()> {
            let what = ["announce", name, "--host", "10.77.0.2", "--port", "8080"];
            let command = owner.portolan(&what)?.args(&["--action", action]).args(&SETTINGS);
            command.env(KEY.0, KEY.1).run()?.exits(0).map(drop)
        };
        let announce = |action: &str| announce_as("pay-api", action);
        announce("register")?;
        capture.wait(portolan_tests::TIMEOUT)?.exits(0)?;
        let list = || -> Result<String> {
            let url = "http://127.0.0.1:7000/api/v1/services";
            let header = format!("Authorization: Bearer {TOKEN}");
            Ok(registry_host.shell(&format!("curl -sf -H '{header}' {url}"))?.stdout)
        };
        wait_for("the signed announcement to be imported", || {
            ensure!(list()?.contains("10.77.0.2"), "{}", list()?);
            Ok(())
        })?;
        announce("deregister")?;
        wait_for("the service to be gone", || {
            ensure!(!list()?.contains("pay-api"), "{}", list()?);
            Ok(())
        })?;

        let before = dropped(&registry_host)? + overflowed(&registry_host)?;
        let arguments = ["flood", &captured, &FORGED.to_string(), &RATE.to_string()];
        let mut flood = forger.spawn("flood", &[&["python3", &script], &arguments[..]].concat())?;
        wait_for("a genuine announcement to be accepted during the flood", || {
            ensure!(flood.ended()?.is_none(), "the flood has ended");
            // Agents repeat announcements too: the kernel drops what does not fit into the queue.
            announce_as("genuine-api", "register")?;
            ensure!(list()?.contains("genuine-api"), "{}", list()?);
            Ok(())
        })?;
        flood.wait(portolan_tests::TIMEOUT)?.exits(0)?;
        wait_for("every datagram to be counted", || {
            let counted = dropped(&registry_host)? + overflowed(&registry_host)? - before;
            ensure!(counted >= f64::from(FORGED), "{counted} of {FORGED}");
            Ok(())
        })?;
        let accepted = list()?;
        ensure!(!accepted.contains("pay-api"), "a forged datagram was accepted: {accepted}");
        println!("{:?} of {FORGED} did not fit into the queue", overflowed(&registry_host)?);
        registry.ended()?.map_or(Ok(()), |status| Err(anyhow::anyhow!("{status}")))
    });
}
