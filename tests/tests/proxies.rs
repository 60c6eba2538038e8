//! A registry behind nginx with a path prefix: callers get addresses that they can reach, whatever they send.

use anyhow::{Result, ensure};
use portolan_tests::{Host, Process, TIMEOUT, isolated};
use serde_json::Value;

const HTTP_SERVER: [&str; 4] = ["python3", "-m", "http.server", "{port}"];
const LOCAL_SERVER: [&str; 6] = ["python3", "-m", "http.server", "{port}", "--bind", "127.0.0.1"];
const TRUSTED: [&str; 4] = [
    "--set",
    "service_registry.trusted_proxies=[127.0.0.1, 10.77.0.3]",
    "--set",
    "service_registry.ttl_default=2s",
];

/// The registry on host 1, nginx there and on host 3, a service on host 2, and the caller on host 4.
struct Network<'a> {
    hosts: [Host<'a>; 4],
    _processes: Vec<Process>,
}

/// The URLs of the registry through nginx on its own host and on another one.
const URLS: [&str; 2] = ["http://10.77.0.1:8088/portolan/", "http://10.77.0.3:8088/portolan"];

// === impl Network ===

impl<'a> Network<'a> {
    fn start(env: &'a portolan_tests::TestEnv, settings: &[&str]) -> Result<Self> {
        let hosts = [env.host(1)?, env.host(2)?, env.host(3)?, env.host(4)?];
        // A bridge of containers, which every host has with the same address.
        for host in &hosts {
            host.shell("ip link add docker0 type bridge && ip link set docker0 up")?;
            host.shell("ip addr add 172.17.0.1/16 dev docker0")?;
        }
        let mut processes = vec![hosts[0].registry(settings)?];
        processes.push(hosts[0].nginx(8088, "127.0.0.1:7000")?);
        processes.push(hosts[2].nginx(8088, "10.77.0.1:7000")?);
        processes.push(hosts[0].service("shop-api", &[], &HTTP_SERVER)?);
        processes.push(hosts[0].service("local-api", &["--preferred", "8085"], &LOCAL_SERVER)?);
        let url = hosts[0].registry_url();
        for (name, address) in [("shop-api", "127.0.0.1:8080"), ("local-api", "127.0.0.1:8085")] {
            hosts[0].finds(name, &["--registry", "http://127.0.0.1:7000"], address)?;
        }
        hosts[3].finds("shop-api", &["--registry", &url], "10.77.0.1:8080")?;
        Ok(Self { hosts, _processes: processes })
    }

    /// Returns the hosts and further addresses in an answer to the caller with this header.
    fn answered(&self, url: &str, name: &str, forwarded_for: &str) -> Result<Vec<String>> {
        let header = format!("X-Forwarded-For: {forwarded_for}");
        let url = format!("{}/api/v1/services?name={name}", url.trim_end_matches('/'));
        let answer = self.hosts[3].shell(&format!("curl -sf -H '{header}' '{url}'"))?.json()?;
        let services = answer["services"].as_array().cloned().unwrap_or_default();
        let hosts = |service: &Value| {
            let further = service["addresses"].as_array().cloned().unwrap_or_default();
            [vec![service["host"].clone()], further].concat()
        };
        let text = |host: &Value| host.as_str().unwrap_or_default().to_owned();
        Ok(services.iter().flat_map(hosts).map(|host| text(&host)).collect())
    }
}

#[test]
fn service_is_registered_and_reached_through_a_trusted_nginx() {
    isolated(|env| {
        let network = Network::start(env, &TRUSTED)?;
        let [_, server, _, client] = &network.hosts;
        for (url, name, port) in [(URLS[0], "one-api", "8081"), (URLS[1], "two-api", "8082")] {
            let options = ["--registry", url, "--preferred", port];
            let _service = server.service(name, &options, &HTTP_SERVER)?;
            for through in URLS {
                let options = ["--registry", through, "--strategy", "registry"];
                client.finds(name, &options, &format!("10.77.0.2:{port}"))?;
                client.finds("shop-api", &options, "10.77.0.1:8080")?;
                client.portolan(&["discover", "local-api"])?.args(&options).run()?.exits(3)?;
            }
            let exec = ["exec", "--registry", url, "--needs", name, "--", "sh", "-c"];
            let variable = name.replace('-', "_").to_uppercase();
            let fetch = format!("curl -sf -o /dev/null \"${variable}_URL\"");
            client.portolan(&exec)?.arg(fetch).run()?.exits(0)?;
        }
        Ok(())
    });
}

#[test]
fn registry_names_the_address_in_the_network_of_the_caller_behind_a_trusted_nginx() {
    isolated(|env| {
        let network = Network::start(env, &TRUSTED)?;
        for url in URLS {
            let hosts = network.answered(url, "shop-api", "")?;
            ensure!(hosts.first().is_some_and(|host| host == "10.77.0.1"), "{url}: {hosts:?}");
        }
        Ok(())
    });
}

fn forged_header_gets_no_loopback_address(settings: &[&str]) {
    isolated(|env| {
        let is_loopback = |host: &String| host.starts_with("127.") || host == "::1";
        let network = Network::start(env, settings)?;
        for url in [URLS[0], URLS[1], "http://10.77.0.1:7000"] {
            for forged in ["127.0.0.1", "10.77.0.1", "::1", "127.0.0.1, 10.77.0.3", "[::1]:80"] {
                let hosts = network.answered(url, "shop-api", forged)?;
                ensure!(!hosts.iter().any(is_loopback), "{url} {forged}: {hosts:?}");
                ensure!(hosts.contains(&"10.77.0.1".into()), "{url} {forged}: {hosts:?}");
                let hosts = network.answered(url, "local-api", forged)?;
                ensure!(hosts.is_empty(), "{url} {forged}: {hosts:?}");
            }
        }
        Ok(())
    });
}

#[test]
fn forged_forwarded_header_gets_no_loopback_address_through_a_trusted_nginx() {
    forged_header_gets_no_loopback_address(&TRUSTED);
}

#[test]
fn forged_forwarded_header_gets_no_loopback_address_through_an_untrusted_nginx() {
    forged_header_gets_no_loopback_address(&TRUSTED[2..]);
}

#[test]
fn caller_behind_an_untrusted_nginx_gets_a_reachable_address() {
    isolated(|env| {
        let network = Network::start(env, &TRUSTED[2..])?;
        let [_, server, _, client] = &network.hosts;
        let url = network.hosts[0].registry_url();
        let _service = server.service("one-api", &["--registry", &url], &HTTP_SERVER)?;
        for url in URLS {
            let options = ["--registry", url, "--strategy", "registry"];
            client.finds("one-api", &options, "10.77.0.2:8080")?;
            client.finds("shop-api", &options, "10.77.0.1:8080")?;
            client.portolan(&["discover", "local-api"])?.args(&options).run()?.exits(3)?;
        }
        Ok(())
    });
}

#[test]
fn caller_behind_a_tunnel_is_not_on_the_host_of_the_registry() {
    isolated(|env| {
        let network = Network::start(env, &TRUSTED[2..])?;
        let [registry_host, server, _, client] = &network.hosts;
        let options = ["--registry", "http://127.0.0.1:7000", "--strategy", "registry"];
        let (_tunnel, _other) =
            (client.tunnel(7000, registry_host)?, server.tunnel(7000, registry_host)?);
        client.finds("shop-api", &options, "10.77.0.1:8080")?;
        client.portolan(&["discover", "local-api"])?.args(&options).run()?.exits(3)?;
        // On the host of the registry its loopback address would be another service's.
        let run = ["--registry", "http://127.0.0.1:7000", "--preferred", "8082"];
        let refused = server.service("far-api", &run, &HTTP_SERVER)?.wait(TIMEOUT)?;
        ensure!(refused.stderr.contains("127.0.0.1 is a loopback address"), "{refused:?}");
        let found = ["--registry", "http://127.0.0.1:7000", "--strategy", "registry"];
        registry_host.portolan(&["discover", "far-api"])?.args(&found).run()?.exits(3)?;
        let run = [&run[..], &["--host", "10.77.0.2"]].concat();
        let _service = server.service("far-api", &run, &HTTP_SERVER)?;
        client.finds("far-api", &options, "10.77.0.2:8082")
    });
}
