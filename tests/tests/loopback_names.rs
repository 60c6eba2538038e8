//! What means another host elsewhere: names that are loopback addresses on this host, IPv4-mapped addresses, and health
//! URLs on loopback.

use anyhow::{Result, ensure};
use portolan_tests::{isolated, wait_for};

const HTTP_SERVER: [&str; 4] = ["python3", "-m", "http.server", "{port}"];
/// As Debian writes them: the name of the host is a loopback address.
const HOSTS: &str = "127.0.0.1 localhost\n127.0.1.1 web1.example.test web1\n";

#[test]
fn name_that_is_a_loopback_address_is_treated_as_that_address() {
    isolated(|env| {
        env.replace_file("/etc/hosts", HOSTS)?;
        let (registry_host, other) = (env.host(1)?, env.host(2)?);
        let _registry = registry_host.registry(&[])?;
        let url = registry_host.registry_url();
        let remote = ["--registry", url.as_str()];
        let named = ["--host", "web1", "--port", "8080"];
        // From another host it is refused, with the reason and the way out.
        let register = other.portolan(&["register", "web-api"])?.args(&named).args(&remote);
        let refused = register.run()?.exits(1)?.stderr;
        for text in ["web1", "127.0.1.1", "is a loopback address", "at which other machines reach"]
        {
            ensure!(refused.contains(text), "{refused}");
        }
        // On the registry's host it is offered to that host only.
        let registered = registry_host.portolan(&["register", "web-api"])?.args(&named).run()?;
        ensure!(registered.exits(0)?.stderr.contains("other hosts cannot reach it"));
        let found = registry_host.portolan(&["discover", "web-api"])?.run()?.text()?;
        ensure!(found == "127.0.1.1:8080", "{found}");
        let offered = || other.shell(&format!("curl -sf {url}/api/v1/services"));
        ensure!(!offered()?.stdout.contains("web-api"), "{:?}", offered()?);
        // So it is for a program that runs.
        let options = ["--host", "web1", "--preferred", "8085"];
        let mut service = registry_host.service("own-api", &options, &HTTP_SERVER)?;
        service.wait_for_line("other hosts cannot reach it")?;
        wait_for("the service to be registered", || {
            let found = registry_host.portolan(&["discover", "own-api"])?.run()?.text()?;
            ensure!(found == "127.0.1.1:8085", "{found}");
            Ok(())
        })?;
        ensure!(!offered()?.stdout.contains("own-api"), "{:?}", offered()?);
        Ok(())
    });
}

#[test]
fn mapped_address_is_the_ipv4_address_at_every_entrance() {
    isolated(|env| {
        let (registry_host, other) = (env.host(1)?, env.host(2)?);
        let _registry = registry_host.registry(&[])?;
        let url = registry_host.registry_url();
        let remote = ["--registry", url.as_str()];
        let mapped = ["--host", "::ffff:10.77.0.2", "--port", "8080"];
        let by =
            |name: &str| other.portolan(&["register", name])?.args(&mapped).args(&remote).run();
        by("flag-api")?.exits(0)?;
        let body = r#"{"name": "http-api", "host": "::ffff:10.77.0.2", "port": 8080,
            "addresses": ["::ffff:10.77.0.9"], "metadata": {}}"#;
        let services = format!("{url}/api/v1/services");
        other.shell(&format!(
            "curl -sf -X POST -H 'Content-Type: application/json' -d '{body}' {services}"
        ))?;
        other.finds("http-api", &remote, "10.77.0.2:8080")?;
        let listed = other.shell(&format!("curl -sf {services}"))?.stdout;
        ensure!(listed.contains("10.77.0.9") && !listed.contains("ffff"), "{listed}");
        let configured = "discovery.endpoints={db: '[::ffff:10.77.0.3]:5433'}";
        let found = other.portolan(&["discover", "db", "--set", configured])?.run()?.text()?;
        ensure!(found == "10.77.0.3:5433", "{found}");
        let heard = ["--host", "::ffff:10.77.0.2", "--port", "9090"];
        registry_host.portolan(&["announce", "heard-api"])?.args(&heard).run()?.exits(0)?;
        other.finds("heard-api", &remote, "10.77.0.2:9090")
    });
}

#[test]
fn health_url_on_loopback_is_shown_on_its_own_host_only() {
    isolated(|env| {
        let (registry_host, other) = (env.host(1)?, env.host(2)?);
        let _registry = registry_host.registry(&[])?;
        let url = registry_host.registry_url();
        let register = ["register", "web-api", "--host", "10.77.0.1", "--port", "8080"];
        let health = ["--health-url", "http://127.0.0.1:8081/health"];
        registry_host.portolan(&register)?.args(&health).run()?.exits(0)?;
        let shown = |services: Result<portolan_tests::Output>| -> Result<bool> {
            let text = services?.stdout;
            ensure!(text.contains("10.77.0.1"), "{text}");
            Ok(text.contains("127.0.0.1:8081"))
        };
        let list = |url: &str| format!("curl -sf {url}/api/v1/services");
        ensure!(shown(registry_host.shell(&list("http://127.0.0.1:7000")))?);
        ensure!(!shown(other.shell(&list(&url)))?);
        let event = format!("timeout 2 curl -sN '{url}/api/v1/watch?name=web-api' || true");
        ensure!(!shown(other.shell(&event))?);
        Ok(())
    });
}
