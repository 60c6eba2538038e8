//! A caller that cannot connect tells the registry, which asks the instance itself: others learn it at once.

use anyhow::{Context, Result, ensure};
use portolan_client::DiscoveryConfig;
use portolan_client::blocking::DiscoveryClient;
use portolan_tests::{REGISTRY, TestEnv, http, isolated, wait_for};

fn client() -> Result<DiscoveryClient> {
    let strategies = vec!["registry".parse().expect("it is one")];
    let config = DiscoveryConfig { strategies, ..DiscoveryConfig::default() };
    Ok(DiscoveryClient::builder().config(config).registry_url(REGISTRY).build_blocking()?)
}

/// Registers an instance without an agent, so that nobody checks it.
fn register(env: &TestEnv, port: &str) -> Result<()> {
    env.portolan(&["register", "api", "--port", port, "--ttl", "1h"])?.run()?.exits(0).map(drop)
}

/// The ports that a client gets in many lookups.
fn found(client: &DiscoveryClient) -> Result<Vec<u16>> {
    let lookups = (0..64).map(|_| Ok(client.discover("api")?.port));
    let mut ports = lookups.collect::<Result<Vec<_>>>()?;
    ports.sort_unstable();
    ports.dedup();
    Ok(ports)
}

fn finds(client: &DiscoveryClient, expected: &[u16]) -> Result<()> {
    wait_for("the other client to learn it", || {
        let found = found(client)?;
        ensure!(found == expected, "found {found:?}, expected {expected:?}");
        Ok(())
    })
}

#[test]
fn reported_instance_leaves_the_discovery_of_other_clients_until_it_accepts_again() {
    isolated(|env| {
        let _registry = env.settled_registry()?;
        let _live = env.foreign_listener(8081)?;
        register(env, "8080")?;
        register(env, "8081")?;
        let (reporter, other) = (client()?, client()?);
        let watch = env.portolan(&["watch", "api", "--json"])?.spawn("watch")?;
        finds(&other, &[8080, 8081])?;

        let all = reporter.discover_all("api")?;
        let closed = all.iter().find(|one| one.port == 8080).context("it is registered")?;
        reporter.report_failure(closed);
        ensure!(found(&reporter)? == [8081], "the reporter avoids it at once");
        finds(&other, &[8081])?;
        wait_for("the watcher to see it", || {
            ensure!(watch.stdout().contains("a caller could not connect"), "{}", watch.stdout());
            Ok(())
        })?;
        let found = env.discover("api", &["--json"])?.json()?;
        ensure!(found["port"] == 8081, "{found}");
        let page = http::get(&format!("{REGISTRY}/metrics"))?;
        let line = "discovery_registry_failure_reports_total{outcome=\"refused\"} 1";
        ensure!(page.contains(line), "{page}");

        let _now_open = env.foreign_listener(8080)?;
        finds(&other, &[8080, 8081])?;
        // A report about an instance that accepts connections changes nothing.
        reporter.report_failure(&all[0]);
        wait_for("the report to be examined", || {
            let page = http::get(&format!("{REGISTRY}/metrics"))?;
            ensure!(page.contains("{outcome=\"accepted\"} 1"), "{page}");
            Ok(())
        })?;
        finds(&other, &[8080, 8081])
    });
}
