//! Hosts whose network comes later than Portolan, and addresses that change.

use anyhow::ensure;
use portolan_tests::{Host, isolated};

/// A registry answers `incomplete` for the first half of the default TTL: here one second.
const SHORT_START: [&str; 2] = ["--set", "service_registry.ttl_default=2s"];
const HTTP_SERVER: [&str; 4] = ["python3", "-m", "http.server", "{port}"];

#[test]
fn services_of_hosts_that_start_before_their_addresses_are_told_apart() {
    isolated(|env| {
        let hosts = [env.host_without_address(1)?, env.host_without_address(2)?];
        let client = env.host(3)?;
        let start = |host: &Host<'_>| host.service("api", &["--preferred", "8080"], &HTTP_SERVER);
        let _services = [start(&hosts[0])?, start(&hosts[1])?];
        for host in &hosts {
            host.finds("api", &["--strategy", "broadcast"], "127.0.0.1:8080")?;
        }
        hosts[0].add_address("10.77.0.1/24")?;
        hosts[1].add_address("10.77.0.2/24")?;
        portolan_tests::wait_for("both services to be found", || {
            let found = client.portolan(&["discover", "api", "--all"])?.run()?;
            let both =
                found.stdout.contains("10.77.0.1:8080") && found.stdout.contains("10.77.0.2:8080");
            ensure!(both, "{found:?}");
            Ok(())
        })
    });
}

#[test]
fn hosts_that_start_before_their_addresses_find_each_other() {
    isolated(|env| {
        let (server, client) = (env.host_without_address(1)?, env.host_without_address(2)?);
        let _service = server.service("api", &["--preferred", "8080"], &HTTP_SERVER)?;
        server.finds("api", &["--strategy", "broadcast"], "127.0.0.1:8080")?;
        let mut listener = client.portolan(&["listen", "--count", "1"])?.spawn("listener")?;
        listener.wait_for_line("only this host is reached")?;
        let mut watcher = client.portolan(&["listen"])?.spawn("watcher")?;
        watcher.wait_for_line("warning: the broadcast channel has joined no network interface")?;
        let announce = ["announce", "x", "--host", "10.77.0.2", "--port", "1"];
        let alone = client.portolan(&announce)?.run()?.exits(0)?;
        ensure!(alone.stderr.contains("only this host is reached"), "{alone:?}");
        client.add_address("10.77.0.2/24")?;
        watcher.wait_for_line("the broadcast channel hears other hosts")?;
        server.add_address("10.77.0.1/24")?;
        client.finds_and_measures("api", &[], "10.77.0.1:8080")?;
        server.remove_address("10.77.0.1/24")?;
        server.add_address("10.77.0.11/24")?;
        client.finds_and_measures("api", &[], "10.77.0.11:8080")?;
        Ok(())
    });
}

#[test]
fn registry_and_service_that_start_before_their_addresses_find_each_other() {
    isolated(|env| {
        let hosts = [1, 2, 3].map(|number| env.host_without_address(number));
        let [registry_host, server, client] = hosts;
        let (registry_host, server, client) = (registry_host?, server?, client?);
        let _registry = registry_host.registry(&SHORT_START)?;
        let url = registry_host.registry_url();
        let options = ["--registry", url.as_str(), "--preferred", "8080"];
        let mut service = server.service("api", &options, &HTTP_SERVER)?;
        service.wait_for_line("api at ")?;
        for (host, number) in [(&registry_host, 1), (&server, 2), (&client, 3)] {
            host.add_address(&format!("10.77.0.{number}/24"))?;
        }
        let found = ["--registry", url.as_str(), "--strategy", "registry"];
        client.finds_and_measures("api", &found, "10.77.0.2:8080")?;
        let mut watch = client.portolan(&["watch", "api", "--registry", &url])?.spawn("watch")?;
        watch.wait_for_line("10.77.0.2:8080")?;
        server.remove_address("10.77.0.2/24")?;
        server.add_address("10.77.0.22/24")?;
        client.finds_and_measures("api", &found, "10.77.0.22:8080")?;
        watch.wait_for_line("10.77.0.22:8080").map(drop)
    });
}
