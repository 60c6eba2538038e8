//! Discovery between hosts: the right instance at an address that the caller can reach, or none.

use anyhow::{Result, ensure};
use portolan_tests::{Host, Process, TestEnv, isolated, redis, servers};
use serde_json::json;

/// A registry answers `incomplete` for the first half of the default TTL: here one second.
const SHORT_START: [&str; 2] = ["--set", "service_registry.ttl_default=2s"];

/// A server that speaks HTTP and belongs to no service.
fn foreign_http(host: &Host<'_>, port: &str) -> Result<Process> {
    let command = ["python3", "-m", "http.server", port, "--bind", "127.0.0.1"];
    let mut server = host.spawn("foreign-http", &command)?;
    server.wait_until("the server to listen", || {
        host.shell(&format!(
            "python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {port}))'"
        ))
    })?;
    Ok(server)
}

#[test]
fn servers_on_default_ports_of_the_client_are_not_the_registered_services() {
    isolated(|env| {
        let (registry_host, client) = (env.host(1)?, env.host(2)?);
        let _registry = registry_host.registry(&[])?;
        let registry = registry_host.registry_url();
        let _foreign = foreign_http(&client, "8080")?;
        let command = redis::command("6379")?;
        let mut other = client.spawn("foreign-redis", &command)?;
        other.wait_until("Redis to listen", || client.shell("redis-cli -p 6379 ping"))?;
        for (name, address) in [("api", "10.77.0.3:8081"), ("redis", "10.77.0.3:6380")] {
            let (host, port) = address.split_once(':').unwrap_or_default();
            let arguments =
                ["register", name, "--registry", &registry, "--host", host, "--port", port];
            client.portolan(&arguments)?.run()?.exits(0)?;
        }
        for scope in [&[][..], &["--scope", "project-b"]] {
            for (name, address) in [("api", "10.77.0.3:8081"), ("redis", "10.77.0.3:6380")] {
                let options = [&["--registry", registry.as_str()], scope].concat();
                client.finds(name, &options, address)?;
                let all = client.portolan(&["discover", name, "--all"])?.args(&options).run()?;
                ensure!(all.stdout.trim() == address, "discover and --all agree: {all:?}");
            }
        }
        Ok(())
    });
}

#[test]
fn configured_endpoint_outranks_a_server_on_the_default_port() {
    isolated(|env| {
        let client = env.host(1)?;
        let _foreign = foreign_http(&client, "8080")?;
        let configured = "discovery.endpoints={api: '10.9.0.9:1234'}";
        client.finds("api", &["--set", configured], "10.9.0.9:1234")
    });
}

#[test]
fn unproven_default_port_counts_only_if_the_configured_registry_was_asked() {
    isolated(|env| {
        let (registry_host, client) = (env.host(1)?, env.host(2)?);
        let _foreign = foreign_http(&client, "8080")?;
        let url = registry_host.registry_url();
        let unreachable = ["discover", "api", "--registry", &url, "--retries", "0"];
        let outcome = client.portolan(&unreachable)?.run()?.exits(5)?;
        ensure!(outcome.stderr.contains("well-known port only"), "{outcome:?}");
        let _registry = registry_host.registry(&SHORT_START)?;
        client.finds("api", &["--registry", &url], "127.0.0.1:8080")
    });
}

#[test]
fn critical_instance_on_the_default_port_is_not_returned_beside_a_passing_one() {
    isolated(|env| {
        let _registry = env.registry()?;
        let service = |status: &'static str, port: &'static str| {
            let options = ["--health", "http:/", "--preferred", port];
            env.service("web-app", &options, &servers::status(env, status)?)
        };
        let (_critical, _passing) = (service("503", "8080")?, service("200", "8081")?);
        portolan_tests::wait_for("one critical and one passing instance", || {
            let found = env.registered("web-app")?;
            let has = |health| found.iter().any(|service| service["health"] == json!(health));
            ensure!(has("critical") && has("passing"), "{found:?}");
            Ok(())
        })?;
        for _ in 0..5 {
            let found = env.discover("web-app", &[])?.text()?;
            ensure!(found == "127.0.0.1:8081", "{found}");
        }
        let exec =
            ["exec", "--needs", "web-app", "--wait=10s", "--", "sh", "-c", "echo $WEB_APP_PORT"];
        let output = env.portolan(&exec)?.run()?.text()?;
        ensure!(output == "8081", "{output}");
        Ok(())
    });
}

#[test]
fn run_keeps_its_program_while_the_registry_is_away() {
    isolated(|env| {
        let options = ["--set", "broadcast.enabled=false"];
        let command = ["python3", "-m", "http.server", "{port}", "--bind", "127.0.0.1"];
        let mut run = env.service("late-api", &options, &command)?;
        run.wait_for_line("Service not published yet, trying again")?;
        let _registry = env.registry()?;
        portolan_tests::wait_for("the service to be registered", || {
            ensure!(!env.registered("late-api")?.is_empty(), "not yet");
            Ok(())
        })?;
        ensure!(run.ended()?.is_none(), "the program still runs");
        Ok(())
    });
}

const HTTP_SERVER: [&str; 4] = ["python3", "-m", "http.server", "{port}"];

#[test]
fn service_on_the_registrys_host_is_reached_from_another_host() {
    isolated(|env| {
        let (registry_host, client) = (env.host(1)?, env.host(2)?);
        let _registry = registry_host.registry(&[])?;
        let url = registry_host.registry_url();
        let _service = registry_host.service("shop-api", &[], &HTTP_SERVER)?;
        client.finds("shop-api", &["--registry", &url], "10.77.0.1:8080")?;
        // On its own host the loopback address is as good.
        registry_host.finds("shop-api", &[], "127.0.0.1:8080")?;
        let exec = ["exec", "--registry", &url, "--needs", "shop-api", "--"];
        let fetch =
            ["sh", "-c", "python3 -c \"import urllib.request as u; u.urlopen('$SHOP_API_URL')\""];
        client.portolan(&exec)?.args(&fetch).run()?.exits(0)?;
        Ok(())
    });
}

#[test]
fn service_is_reached_through_a_registry_on_a_third_host() {
    isolated(|env| {
        let hosts = [env.host(1)?, env.host(2)?, env.host(3)?];
        let _registry = hosts[0].registry(&[])?;
        let url = hosts[0].registry_url();
        let _service = hosts[1].service("shop-api", &["--registry", &url], &HTTP_SERVER)?;
        hosts[2].finds("shop-api", &["--registry", &url], "10.77.0.2:8080")?;
        hosts[0].finds("shop-api", &[], "10.77.0.2:8080")
    });
}

#[test]
fn service_on_loopback_is_offered_to_its_own_host_only() {
    isolated(|env| {
        let (registry_host, client) = (env.host(1)?, env.host(2)?);
        let _registry = registry_host.registry(&SHORT_START)?;
        let url = registry_host.registry_url();
        let local = [&HTTP_SERVER[..], &["--bind", "127.0.0.1"]].concat();
        let _service = registry_host.service("shop-api", &[], &local)?;
        registry_host.finds("shop-api", &[], "127.0.0.1:8080")?;
        portolan_tests::wait_for("the registry to have no instance for the other host", || {
            let found = client.portolan(&["discover", "shop-api", "--registry", &url])?.run()?;
            ensure!(found.stdout.is_empty(), "a loopback address of another host: {found:?}");
            found.exits(3)
        })?;
        // With the registry on another host the user is told.
        let mut other = client.service("other-api", &["--registry", &url], &local)?;
        other.wait_for_line("Service listens on loopback only")?;
        Ok(())
    });
}

#[test]
fn service_on_another_host_is_found_by_broadcast_with_default_settings() {
    isolated(|env| {
        let (server, client) = (env.host(1)?, env.host(2)?);
        let _service = server.service("api", &["--preferred", "8080"], &HTTP_SERVER)?;
        client.finds("api", &[], "10.77.0.1:8080")?;
        server.finds("api", &[], "127.0.0.1:8080")
    });
}

#[test]
fn service_on_loopback_is_not_announced_to_other_hosts() {
    isolated(|env| {
        let (server, client) = (env.host(1)?, env.host(2)?);
        let command = [&HTTP_SERVER[..], &["--bind", "127.0.0.1"]].concat();
        let mut service = server.service("api", &["--preferred", "8080"], &command)?;
        server.finds("api", &["--strategy", "broadcast"], "127.0.0.1:8080")?;
        service.wait_for_line("Service listens on loopback only")?;
        client.portolan(&["discover", "api", "--retries", "0"])?.run()?.exits(3)?;
        Ok(())
    });
}

#[test]
fn manual_registration_and_announcement_have_the_address_of_their_host() {
    isolated(|env| {
        let (registry_host, server, client) = (env.host(1)?, env.host(2)?, env.host(3)?);
        let _registry = registry_host.registry(&[])?;
        let url = registry_host.registry_url();
        let register = ["register", "manual-api", "--port", "8085", "--registry", &url];
        let registered = server.portolan(&register)?.run()?.exits(0)?;
        ensure!(registered.stdout.trim() == "manual-api@10.77.0.2:8085", "{registered:?}");
        let heartbeat = "ends after 1m unless `portolan heartbeat manual-api@10.77.0.2:8085`";
        ensure!(registered.stderr.contains(heartbeat), "{registered:?}");
        client.finds("manual-api", &["--registry", &url], "10.77.0.2:8085")?;

        // Without a registry that is named, as on a network without one.
        let announce = ["announce", "manual-db", "--port", "8086"];
        server.portolan(&announce)?.run()?.exits(0)?;
        client.portolan(&["listen", "--count", "1", "--json"])?.spawn("listener").and_then(
            |mut listener| {
                listener.wait_until("the announcement", || {
                    server.portolan(&announce)?.run()?.exits(0)?;
                    Ok(())
                })?;
                listener.wait_for_line("10.77.0.2").map(drop)
            },
        )?;

        // What listens on loopback is not advertised to others, and the user is told.
        let local = [&HTTP_SERVER[..], &["--bind", "127.0.0.1"]].concat();
        let mut service = server.service("local-api", &["--preferred", "8087"], &local)?;
        service.wait_for_line("local-api at")?;
        let announce = ["announce", "local-web", "--port", "8087"];
        portolan_tests::wait_for("the port to be listened on", || {
            let told = server.portolan(&announce)?.run()?.exits(0)?;
            ensure!(told.stderr.contains("at loopback only"), "{told:?}");
            Ok(())
        })
    });
}

#[test]
fn service_without_a_health_check_is_advertised_where_it_listens() {
    isolated(|env| {
        let (server, client) = (env.host(1)?, env.host(2)?);
        let go = env.directory().join("go");
        let script = format!(
            "until [ -e {} ]; do sleep 0.1; done; exec python3 -m http.server $PORT --bind 127.0.0.1",
            go.display()
        );
        let options = ["--preferred", "8080", "--health", "none"];
        let mut service = server.service("api", &options, &["sh", "-c", &script])?;
        // It may use UDP only.
        client.finds("api", &[], "10.77.0.1:8080")?;
        env.write("go", "")?;
        service.wait_for_line("Service listens on loopback only")?;
        server.finds("api", &["--strategy", "broadcast"], "127.0.0.1:8080")?;
        client.portolan(&["discover", "api", "--retries", "0"])?.run()?.exits(3)?;
        Ok(())
    });
}

/// Creates a host with an IPv6 address and no other.
fn ipv6_host(env: &TestEnv, number: u8) -> Result<Host<'_>> {
    let host = env.host_without_address(number)?;
    host.shell(&format!("ip addr add fd00:77::{number}/64 dev eth0 nodad"))?;
    Ok(host)
}

#[test]
fn hosts_without_ipv4_find_each_other_with_default_settings() {
    isolated(|env| {
        let (server, client, dual) = (ipv6_host(env, 1)?, ipv6_host(env, 2)?, env.host(3)?);
        let command = [&HTTP_SERVER[..], &["--bind", "::"]].concat();
        let _service = server.service("api", &["--preferred", "8080"], &command)?;
        client.finds("api", &[], "[fd00:77::1]:8080")?;
        dual.finds("api", &[], "[fd00:77::1]:8080")?;
        let _dual = dual.service("dual-api", &["--preferred", "8081"], &command)?;
        client.finds("dual-api", &[], "[fd00:77::3]:8081")?;
        let listened = client.portolan(&["listen", "--timeout", "1ms"])?.run()?.exits(0)?;
        ensure!(listened.stderr.is_empty(), "{listened:?}");
        let found = client.portolan(&["doctor", "--set", "broadcast.interface=eth0"])?.run()?;
        ensure!(found.stdout.contains("[ff02::504f]:7001 on eth0"), "{found:?}");
        Ok(())
    });
}

#[test]
fn host_on_ipv4_and_ipv6_is_heard_once_and_found_at_its_ipv4_address() {
    isolated(|env| {
        let (server, client) = (env.host(1)?, env.host(2)?);
        let mut listener = client.portolan(&["listen"])?.spawn("listener")?;
        let command = [&HTTP_SERVER[..], &["--bind", "::"]].concat();
        let mut service = server.service("api", &["--preferred", "8080"], &command)?;
        listener.wait_for_line("register api 10.77.0.1:8080 from 10.77.0.1:")?;
        for _ in 0..5 {
            client.finds("api", &[], "10.77.0.1:8080")?;
        }
        service.terminate()?;
        listener.wait_for_line("deregister api")?;
        let text = listener.output();
        ensure!(text.matches("deregister api").count() == 1, "{text}");
        ensure!(text.matches("\nregister api").count() <= 1, "{text}");
        Ok(())
    });
}

#[test]
fn channels_with_their_own_keys_are_used_side_by_side() {
    isolated(|env| {
        let key = |name: &str, text: &str| -> Result<String> {
            let path = env.write(name, text)?;
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
            Ok(path.display().to_string())
        };
        let (east, west) = (
            key("east.key", "4f1c0a97d2e86b35 of the east")?,
            key("west.key", "be93d5708a1f642c of the west")?,
        );
        let channel = |address: &str, file: &str| {
            format!(
                "{{address: \"{address}\", interfaces: [eth0], keys: [{{id: k, file: {file}}}]}}"
            )
        };
        let east = channel("239.1.1.1:7101", &east);
        let west = channel("[ff02::7102]:7102", &west);
        let setting = |channels: &[&str]| format!("broadcast.channels=[{}]", channels.join(","));
        let hosts = [env.host(1)?, env.host(2)?, env.host(3)?];
        let (both, east, west) = (setting(&[&east, &west]), setting(&[&east]), setting(&[&west]));
        let command = [&HTTP_SERVER[..], &["--bind", "::"]].concat();
        let options = ["--set", both.as_str(), "--preferred", "8080"];
        let _service = hosts[0].service("api", &options, &command)?;
        hosts[1].finds("api", &["--set", &east], "10.77.0.1:8080")?;
        hosts[2].finds("api", &["--set", &west], "[fd00:77::1]:8080")?;
        hosts[0].finds("api", &["--set", &west, "--strategy", "broadcast"], "127.0.0.1:8080")?;
        let missed = hosts[1].portolan(&["discover", "api", "--retries", "0"])?.run()?;
        missed.exits(3)?;
        Ok(())
    });
}

#[test]
fn key_is_replaced_while_both_hosts_run() {
    isolated(|env| {
        let key = |id: &str, text: &str| -> Result<String> {
            let path = env.write(id, text)?;
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
            Ok(format!("{{id: {id}, file: {}}}", path.display()))
        };
        let old = key("old", "4f1c0a97d2e86b35 the old key\n")?;
        let new = key("new", "be93d5708a1f642c the new key\n")?;
        let setting = |keys: &[&str]| format!("broadcast.keys=[{}]", keys.join(","));
        let steps =
            [setting(&[&old]), setting(&[&old, &new]), setting(&[&new, &old]), setting(&[&new])];
        let (server, client) = (env.host(1)?, env.host(2)?);
        for (step, keys) in steps.iter().enumerate() {
            let name = format!("api-{step}");
            let options = ["--set", keys.as_str(), "--preferred", "8080"];
            let mut service = server.service(&name, &options, &HTTP_SERVER)?;
            for others in &steps[step.saturating_sub(1)..(step + 2).min(steps.len())] {
                client.finds(&name, &["--set", others], "10.77.0.1:8080")?;
            }
            service.terminate()?;
        }
        Ok(())
    });
}

#[test]
fn interface_that_cannot_be_joined_is_reported_once_until_it_can() {
    isolated(|env| {
        let host = env.host(1)?;
        // Loopback is the only group membership of a socket then.
        host.shell("sysctl -w net.ipv4.igmp_max_memberships=1")?;
        let only_ipv4 = ["--set", "broadcast.ipv6=false"];
        let mut listener = host.portolan(&["listen"])?.args(&only_ipv4).spawn("listener")?;
        listener.wait_for_line("warning: the broadcast channel has joined no network interface")?;
        let doctor = host.portolan(&["doctor", "--problems"])?.args(&only_ipv4).run()?;
        ensure!(doctor.stdout.contains("239.255.0.1:7001 on eth0"), "{doctor:?}");
        ensure!(doctor.stdout.contains("cannot be joined"), "{doctor:?}");
        for number in 21..24 {
            host.add_address(&format!("10.77.0.{number}/24"))?;
        }
        host.shell("sysctl -w net.ipv4.igmp_max_memberships=20")?;
        host.add_address("10.77.0.24/24")?;
        listener.wait_for_line("the broadcast channel hears other hosts")?;
        let told = listener.output();
        ensure!(told.matches("not joined on an interface").count() == 1, "{told}");
        Ok(())
    });
}
