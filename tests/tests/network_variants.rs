//! Networks as they are elsewhere: bridges with the same address on every host, two interfaces in one network, clients on one
//! family, small MTUs.

use anyhow::{Context, Result, ensure};
use portolan_tests::{Host, TIMEOUT, isolated, portolan_program, servers};

const SERVER: [&str; 4] = ["python3", "-m", "http.server", "{port}"];

/// Gives the host the bridge of Docker, whose address is the same on every host.
fn add_docker_bridge(host: &Host<'_>) -> Result<()> {
    let bridge = "ip link add docker0 type bridge && ip addr add 172.17.0.1/16 dev docker0";
    let container =
        "ip link add veth0 type veth peer name veth1 && ip link set veth0 master docker0";
    host.shell(&format!("{bridge} && {container} && ip link set docker0 up && ip link set veth0 up && ip link set veth1 up"))
        .map(drop)
}

#[test]
fn bridges_with_one_address_on_every_host_keep_services_apart() {
    isolated(|env| {
        let (registry_host, one, two) = (env.host(1)?, env.host(2)?, env.host(3)?);
        for host in [&registry_host, &one, &two] {
            add_docker_bridge(host)?;
        }
        let _registry = registry_host.registry(&[])?;
        let url = registry_host.registry_url();
        let options = ["--registry", url.as_str(), "--preferred", "8080"];
        // Both listen on 172.17.0.1:8080 of their own host.
        let _first = one.service("first-api", &options, &SERVER)?;
        let _second = two.service("second-api", &options, &SERVER)?;
        let remote = ["--registry", url.as_str()];
        for (caller, name, owner) in [
            (&registry_host, "first-api", &one),
            (&registry_host, "second-api", &two),
            (&two, "first-api", &one),
            (&one, "second-api", &two),
        ] {
            caller.finds(name, &remote, &format!("{}:8080", owner.address()))?;
        }
        // And without a registry.
        let broadcast = ["--strategy", "broadcast"];
        two.finds("first-api", &broadcast, &format!("{}:8080", one.address()))?;
        one.finds("second-api", &broadcast, &format!("{}:8080", two.address()))
    });
}

#[test]
fn host_with_two_interfaces_in_one_network_is_one_instance() {
    isolated(|env| {
        let (server, client) = (env.host(2)?, env.host(3)?);
        server.shell("ip link add link eth0 name eth1 type macvlan mode bridge && ip link set eth1 up && ip addr add 10.77.0.22/24 dev eth1")?;
        let _service = server.service("api", &["--preferred", "8080"], &SERVER)?;
        for _ in 0..3 {
            let broadcast = ["discover", "api", "--all", "--strategy", "broadcast"];
            let mut call = client.portolan(&broadcast)?.spawn("discover")?;
            let found = call.wait(TIMEOUT)?.text()?;
            ensure!(["10.77.0.2:8080", "10.77.0.22:8080"].contains(&found.as_str()), "{found}");
        }
        Ok(())
    });
}

#[test]
fn client_on_ipv6_only_is_not_given_an_ipv4_address() {
    isolated(|env| {
        let (registry_host, client) = (env.host(1)?, env.host_with_ipv6_only(2)?);
        let _registry = registry_host.registry(&[])?;
        let register = ["register", "old-api", "--host", "10.77.0.9", "--port", "8080"];
        registry_host.portolan(&register)?.run()?.exits(0)?;
        let url = registry_host.registry_url_v6();
        let discover = ["discover", "old-api", "--registry", &url, "--strategy", "registry"];
        let output = client.portolan(&discover)?.run()?;
        ensure!(output.stdout.is_empty(), "{output:?}");
        ensure!(output.stderr.contains("10.77.0.9"), "{output:?}");
        Ok(())
    });
}

#[test]
fn large_announcement_passes_a_network_with_a_small_mtu() {
    isolated(|env| {
        let (server, client) = (env.host(2)?, env.host(3)?);
        for host in [&server, &client] {
            host.shell("ip link set eth0 mtu 576")?;
        }
        let large = format!("text={}", "x".repeat(600));
        let options = ["--preferred", "8080", "--meta", &large];
        let _service = server.service("api", &options, &SERVER)?;
        client.finds("api", &["--strategy", "broadcast"], "10.77.0.2:8080")
    });
}

#[test]
fn names_scopes_and_service_links_of_other_systems_are_understood() {
    isolated(|env| {
        let _registry = env.settled_registry()?;
        let register = |name: &str, port: &str, variables: &[(&str, &str)]| -> Result<()> {
            // The default TTL of this registry is shorter than the test may take.
            let host = ["--host", "10.9.9.9", "--port", port, "--ttl", "1h"];
            let mut register = env.portolan(&["register", name])?.args(&host);
            for (variable, value) in variables {
                register = register.env(variable, value);
            }
            register.run()?.exits(0).map(drop)
        };
        register("Web-API.", "8080", &[])?;
        let registry = ["--strategy", "registry"];
        for name in ["web-api", "WEB-API", "web-api.", "Web-Api."] {
            let found = env.discover(name, &registry)?.text()?;
            ensure!(found == "10.9.9.9:8080", "{name}: {found}");
        }
        register("web-api", "8081", &[("PORTOLAN_SCOPE", "shop")])?;
        let scoped = env.portolan(&["discover", "web-api"])?.args(&registry);
        let found = scoped.env("PORTOLAN_SCOPE", "shop").run()?.text()?;
        ensure!(found == "10.9.9.9:8081", "{found}");
        ensure!(env.discover("web-api", &registry)?.text()? == "10.9.9.9:8080");
        // Services called portolan-api and portolan-discovery--api in the namespace of a pod.
        let linked = env.portolan(&["discover", "web-api"])?.args(&registry);
        let linked = linked
            .env("PORTOLAN_API_SERVICE_HOST", "10.0.0.1")
            .env("PORTOLAN_API_PORT", "tcp://10.0.0.1:80")
            .env("PORTOLAN_API_PORT_80_TCP_PROTO", "tcp")
            .env("PORTOLAN_DISCOVERY__API_SERVICE_HOST", "10.0.0.1")
            .env("PORTOLAN_DISCOVERY__API_PORT", "tcp://10.0.0.1:80");
        ensure!(linked.run()?.text()? == "10.9.9.9:8080");
        Ok(())
    });
}

#[test]
fn reason_of_a_health_check_cannot_control_the_terminal() {
    isolated(|env| {
        let _registry = env.registry()?;
        let register = ["register", "bad-api", "--port", "8080", "--id", "bad-1"];
        env.portolan(&register)?.run()?.exits(0)?;
        let reason = "x\u{1b}[2J\u{1b}]0;title\u{7}\u{202e}y";
        let health = ["health", "bad-1", "critical", "--reason", reason];
        env.portolan(&health)?.run()?.exits(0)?;
        let program = portolan_program()?;
        for command in ["list bad-api", "discover bad-api --explain"] {
            // On a terminal; a pipe gets the text as it is, except control characters.
            let mut script = std::process::Command::new("script");
            script.args(["-qec", &format!("{} {command}", program.display()), "/dev/null"]);
            script.current_dir(env.directory()).env("TERM", "dumb");
            let shown = env.spawn("terminal", script)?.wait(TIMEOUT)?.exits(0)?.stdout;
            ensure!(shown.contains("critical") && shown.contains("title"), "{shown}");
            ensure!(!shown.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{shown:?}");
        }
        Ok(())
    });
}

#[test]
fn watchers_of_both_names_see_a_renamed_instance() {
    isolated(|env| {
        let _registry = env.settled_registry()?;
        let register = |name: &str| -> Result<()> {
            let place = ["--port", "8080", "--id", "one"];
            env.portolan(&["register", name])?.args(&place).run()?.exits(0).map(drop)
        };
        register("old-api")?;
        let mut old = env.portolan(&["watch", "old-api", "--json"])?.spawn("old")?;
        let mut new = env.portolan(&["watch", "new-api", "--json"])?.spawn("new")?;
        old.wait_for_line("\"snapshot\"")?;
        new.wait_for_line("\"snapshot\"")?;
        register("new-api")?;
        let gone = old.wait_for_line("\"deregistered\"")?;
        let came = new.wait_for_line("\"registered\"")?;
        ensure!(gone.contains("old-api") && came.contains("new-api"), "{gone} {came}");
        Ok(())
    });
}

#[test]
fn proxy_that_removes_or_hides_headers_is_named_or_harmless() {
    isolated(|env| {
        let mut serve = env.portolan(&["serve"])?.env("PORTOLAN_TOKEN", "s3cret").spawn("serve")?;
        serve.wait_for_line("Registry server started")?;
        let upstream = "proxy_pass http://127.0.0.1:7000;";
        let locations = format!(
            "location / {{ {upstream} proxy_hide_header ETag; proxy_hide_header Date; gzip on; gzip_types *; }}\n\
             location /bare/ {{ rewrite ^/bare(.*)$ $1 break; {upstream} proxy_set_header Authorization ''; }}"
        );
        let command = servers::nginx_with(env, "nginx", "9001", &locations)?;
        let (program, arguments) = command.split_first().context("no command")?;
        let mut nginx = std::process::Command::new(program);
        nginx.args(arguments);
        let mut nginx = env.spawn("nginx", nginx)?;
        nginx.wait_until("nginx to listen", || {
            Ok(std::net::TcpStream::connect("127.0.0.1:9001")?)
        })?;
        let by = |command: &[&str], url: &str| -> Result<portolan_tests::Output> {
            let call = env.portolan(command)?.args(&["--registry", url]);
            call.env("PORTOLAN_TOKEN", "s3cret").run()
        };
        let (hiding, removing) = ("http://127.0.0.1:9001", "http://127.0.0.1:9001/bare");
        by(&["register", "api", "--host", "10.9.9.9", "--port", "8080"], hiding)?.exits(0)?;
        let found = by(&["discover", "api", "--strategy", "registry"], hiding)?.text()?;
        ensure!(found == "10.9.9.9:8080", "{found}");
        for command in [&["list"][..], &["discover", "api", "--strategy", "registry"], &["watch"]] {
            let refused = by(command, removing)?.exits(6)?.stderr;
            ensure!(
                refused.contains("no proxy on the way removes the header Authorization"),
                "{refused}"
            );
        }
        Ok(())
    });
}
