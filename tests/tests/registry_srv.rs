//! The servers of a registry are found by SRV records: `http+srv://DOMAIN`.

use anyhow::{Result, ensure};
use portolan_tests::dns::{DOMAIN, Dns};
use portolan_tests::{Process, TestEnv, http, isolated, wait_for};

const BINDER: &str = env!("CARGO_BIN_EXE_late-binder");
const DNS_PORT: u16 = 5300;

/// The options of a client that knows the domain only.
fn by_domain(dns: u16) -> [String; 6] {
    [
        "--registry".into(),
        format!("http+srv://{DOMAIN}"),
        "--set".into(),
        format!("discovery.dns.servers=[\"127.0.0.1:{dns}\"]"),
        "--set".into(),
        "broadcast.enabled=false".into(),
    ]
}

fn serve(env: &TestEnv, port: u16) -> Result<Process> {
    env.quiet_registry::<&str>(&format!("http://127.0.0.1:{port}"), &[])
}

/// Waits until the registry on this port has the service.
fn wait_registered(port: u16, name: &str) -> Result<()> {
    wait_for(&format!("{name} at {port}"), || {
        let url = format!("http://127.0.0.1:{port}/api/v1/services?name={name}");
        let answer = http::get_json(&url)?;
        let found = answer["services"].as_array();
        ensure!(found.is_some_and(|found| found.len() == 1), "{answer}");
        Ok(())
    })
}

#[test]
fn registry_is_found_by_srv_records_and_the_server_that_responds_is_used() {
    isolated(|env| {
        let services = [("portolan", 7001), ("portolan", 7002), ("_other", 7003)];
        let _dns = Dns::start(env, DNS_PORT, &services)?;
        let _server = serve(env, 7002)?;
        let client = by_domain(DNS_PORT);
        let register = ["register", "api", "--id", "api-1", "--port", "8080"];
        env.portolan(&register)?.args(&client).run()?.exits(0)?;
        let found = env.portolan(&["discover", "api"])?.args(&client).run()?.exits(0)?;
        ensure!(found.stdout.trim().ends_with(":8080"), "{found:?}");
        let doctor = env.portolan(&["doctor"])?.args(&client).run()?;
        ensure!(doctor.stdout.contains("http://127.0.0.1:7002"), "{doctor:?}");
        Ok(())
    });
}

#[test]
fn agent_follows_changed_records_after_its_server_ended() {
    isolated(|env| {
        let dns = Dns::start(env, DNS_PORT, &[("portolan", 7001)])?;
        let mut first = serve(env, 7001)?;
        let client = by_domain(DNS_PORT);
        let options: Vec<&str> =
            ["--ttl", "4s"].into_iter().chain(client.iter().map(String::as_str)).collect();
        let mut api = env.service("api", &options, &[BINDER, "{port}"])?;
        api.wait_for_line("bound 8080")?;
        wait_registered(7001, "api")?;
        let _second = serve(env, 7002)?;
        drop(dns);
        let _dns = Dns::start(env, DNS_PORT, &[("portolan", 7002)])?;
        first.kill()?;
        wait_registered(7002, "api")
    });
}

#[test]
fn domain_without_records_is_an_unreachable_registry_with_the_reason() {
    isolated(|env| {
        let _dns = Dns::start(env, DNS_PORT, &[("postgres", 7001)])?;
        let list = env.portolan(&["list"])?.args(&by_domain(DNS_PORT)).run()?.exits(5)?;
        let expected = format!("_portolan._tcp.{DOMAIN}. has no SRV record");
        ensure!(list.stderr.contains(&expected), "{list:?}");
        let invalid = ["list", "--registry", "http+srv://10.0.0.7:7000"];
        env.portolan(&invalid)?.run()?.exits(2)?;
        let silent = env.portolan(&["list"])?.args(&by_domain(1)).run()?.exits(5)?;
        ensure!(silent.stderr.contains("http+srv://"), "{silent:?}");
        Ok(())
    });
}
