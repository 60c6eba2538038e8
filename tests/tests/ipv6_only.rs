//! Hosts without an IPv4 address.

use anyhow::{Result, ensure};
use portolan_tests::{Host, isolated};

const DUAL_STACK: [&str; 6] = ["python3", "-m", "http.server", "{port}", "--bind", "::"];
/// A server on `[::]` that refuses IPv4, as nginx does by default.
const IPV6: [&str; 4] = [
    "python3",
    "-c",
    "import http.server, socket, sys
class Server(http.server.HTTPServer):
    address_family = socket.AF_INET6
    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        super().server_bind()
Server(('::', int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()",
    "{port}",
];
const IPV4: [&str; 6] = ["python3", "-m", "http.server", "{port}", "--bind", "0.0.0.0"];

/// Discovers a service, and verifies that the caller can reach each of its addresses by IPv6.
fn has_ipv6_addresses_only(client: &Host<'_>, name: &str, url: &str) -> Result<()> {
    let arguments = ["discover", name, "--registry", url, "--format", "json"];
    let found = client.portolan(&arguments)?.run()?.json()?;
    let further = found["addresses"].as_array().cloned().unwrap_or_default();
    for host in further.iter().chain([&found["host"]]) {
        let is_ipv6 = host.as_str().is_some_and(|host| host.starts_with("fd00:77::"));
        ensure!(is_ipv6, "{name}: {found}");
    }
    Ok(())
}

#[test]
fn services_are_reached_by_ipv6() {
    isolated(|env| {
        let hosts = [1, 2, 3].map(|number| env.host_with_ipv6_only(number));
        let [registry_host, server, client] = hosts;
        let (registry_host, server, client) = (registry_host?, server?, client?);
        let _registry = registry_host.registry(&[])?;
        let url = registry_host.registry_url_v6();
        let _near = registry_host.service("shop-api", &[], &DUAL_STACK)?;
        let _far = server.service("other-api", &["--registry", &url], &DUAL_STACK)?;
        for (name, address) in
            [("shop-api", "[fd00:77::1]:8080"), ("other-api", "[fd00:77::2]:8080")]
        {
            client.finds(name, &["--registry", &url], address)?;
            has_ipv6_addresses_only(&client, name, &url)?;
            let variable = name.replace('-', "_").to_uppercase();
            let fetch = format!("curl -sf -o /dev/null \"${variable}_URL\"");
            let exec = ["exec", "--registry", &url, "--needs", name, "--", "sh", "-c", &fetch];
            client.portolan(&exec)?.run()?.exits(0)?;
        }
        Ok(())
    });
}

#[test]
fn ipv4_listener_is_not_offered_at_an_ipv6_address() {
    isolated(|env| {
        let (registry_host, server) = (env.host_with_ipv6_only(1)?, env.host_with_ipv6_only(2)?);
        let _registry = registry_host.registry(&["--set", "service_registry.ttl_default=2s"])?;
        let url = registry_host.registry_url_v6();
        let mut service = server.service("shop-api", &["--registry", &url], &IPV4)?;
        service.wait_for_line("Request refused by the registry")?;
        let discover = ["discover", "shop-api", "--strategy", "registry", "--registry", &url];
        portolan_tests::wait_for("the registry to have no instance", || {
            let found = registry_host.portolan(&discover)?.run()?;
            ensure!(found.stdout.is_empty(), "nothing listens there: {found:?}");
            found.exits(3)
        })?;
        Ok(())
    });
}

#[test]
fn ipv6_listener_is_not_offered_at_an_ipv4_address() {
    isolated(|env| {
        let (registry_host, server) = (env.host(1)?, env.host(2)?);
        let _registry = registry_host.registry(&[])?;
        let url = registry_host.registry_url();
        let _near = registry_host.service("near-api", &[], &IPV6)?;
        let _far = server.service("far-api", &["--registry", &url], &IPV6)?;
        registry_host.finds("near-api", &[], "[::1]:8080")?;
        let client = env.host(3)?;
        for (name, address) in [("near-api", "fd00:77::1"), ("far-api", "fd00:77::2")] {
            let options = ["--registry", url.as_str(), "--strategy", "registry"];
            client.finds(name, &options, &format!("[{address}]:8080"))?;
            has_ipv6_addresses_only(&client, name, &url)?;
        }
        Ok(())
    });
}
