//! The manual commands: ports, registry, broadcast channel, configuration.

use anyhow::{Context, ensure};
use portolan_tests::{SHORT_BROADCAST_WAIT, TIMEOUT, isolated, over_each_store, wait_for};

#[test]
fn lease_is_allocated_listed_and_released() {
    isolated(|env| {
        let alloc = ["ports", "alloc", "postgres-1", "--json"];
        let lease = env.portolan(&alloc)?.run()?.json()?;
        ensure!(lease["port"] == 5432, "{lease}");
        let listed = env.portolan(&["ports", "list", "--json"])?.run()?.json()?;
        let holder = &listed["ports"][0];
        ensure!(holder["port"] == 5432 && holder["service"] == "postgres-1", "{listed}");
        let taken = env.portolan(&["ports", "check", "5432"])?.run()?.exits(4)?;
        ensure!(taken.stdout.contains("postgres-1"), "{taken:?}");

        // A port number alone does not release a lease.
        env.portolan(&["ports", "release", "5432"])?.run()?.exits(1)?;
        let lease = lease["lease"].as_str().context("no lease to release")?;
        env.portolan(&["ports", "release", lease])?.run()?.exits(0)?;
        env.portolan(&["ports", "check", "5432"])?.run()?.exits(0).map(drop)
    });
}

#[test]
fn check_distinguishes_a_foreign_listener_from_a_free_port() {
    isolated(|env| {
        let _foreign = env.foreign_listener(8080)?;
        env.portolan(&["ports", "check", "8080"])?.run()?.exits(4)?;
        env.portolan(&["ports", "check", "8081"])?.run()?.exits(0).map(drop)
    });
}

#[test]
fn service_is_registered_renewed_and_deregistered() {
    over_each_store(|env| {
        let _registry = env.registry()?;
        let id = "api-by-hand";
        let register = ["register", "api", "--port", "8080", "--id", id, "--meta", "zone=a"];
        env.portolan(&register)?.run()?.exits(0)?;
        env.portolan(&["heartbeat", id])?.run()?.exits(0)?;
        env.portolan(&["health", id, "warning", "--reason", "slow"])?.run()?.exits(0)?;
        let found = env.discover("api", &["--json"])?.json()?;
        ensure!(found["metadata"]["zone"] == "a" && found["health"] == "warning", "{found}");
        env.portolan(&["deregister", id])?.run()?.exits(0)?;
        for command in ["deregister", "heartbeat"] {
            let answer = env.portolan(&[command, id])?.run()?.exits(3)?;
            ensure!(answer.stderr.contains(id), "{answer:?}");
        }
        // A registry that has just started may be unable to tell whether there is another one.
        let status = if env.starts_incomplete() { 5 } else { 3 };
        let unknown = env.discover("api", &SHORT_BROADCAST_WAIT)?.exits(status)?;
        let is_said = unknown.stderr.contains("has just started");
        ensure!(is_said == env.starts_incomplete(), "{unknown:?}");
        Ok(())
    });
}

#[test]
fn health_url_that_the_registry_does_not_check_has_a_reason() {
    over_each_store(|env| {
        let _registry = env.registry()?;
        let register = ["register", "api", "--port", "8080", "--host", "127.0.0.1"];
        let url = ["--health-url", "http://192.0.2.1:80/health"];
        env.portolan(&register)?.args(&url).run()?.exits(0)?;
        wait_for("the reason", || {
            let listed = env.portolan(&["list"])?.run()?.text()?;
            ensure!(listed.contains("checks only URLs of the endpoint's own host"), "{listed}");
            Ok(())
        })
    });
}

#[test]
fn metadata_that_the_agent_sets_is_refused() {
    isolated(|env| {
        let run = ["run", "--name", "api", "--meta", "checked_by=me", "--", "true"];
        let refused = env.portolan(&run)?.run()?.exits(2)?;
        ensure!(refused.stderr.contains("sets the key checked_by"), "{refused:?}");
        Ok(())
    });
}

#[test]
fn announcement_reaches_listeners_and_the_registry() {
    over_each_store(|env| {
        let mut listen = env.portolan(&["listen", "--json"])?.spawn("listen")?;
        let announce = ["announce", "postgres-9", "--port", "5439"];
        // Nothing reports when the listener has joined the group, so the announcement is repeated.
        wait_for("the announcement to be heard", || {
            env.portolan(&announce)?.run()?.exits(0)?;
            ensure!(listen.stdout().contains("postgres-9"), "not heard");
            Ok(())
        })?;
        listen.terminate()?.exits(0)?;
        let _registry = env.registry()?;
        env.portolan(&announce)?.run()?.exits(0)?;
        let imported = env.wait_registered("postgres-9", 1, TIMEOUT)?;
        ensure!(imported[0]["port"] == 5439, "{imported:?}");
        Ok(())
    });
}

#[test]
fn config_show_prints_each_setting_with_its_origin() {
    isolated(|env| {
        env.write("portolan.yaml", "discovery:\n  timeouts:\n    overall: 20s\n")?;
        let show = ["config", "show", "--set", "discovery.retries=7"];
        let shown = env.portolan(&show)?.run()?.text()?;
        let line = |setting: &str| {
            let line = shown.lines().find(|line| line.contains(setting));
            line.with_context(|| format!("{setting} is missing in\n{shown}"))
        };
        let overall = line("discovery.timeouts.overall")?;
        ensure!(overall.contains("20s") && overall.contains("portolan.yaml"), "{overall}");
        let retries = line("discovery.retries")?;
        ensure!(retries.contains('7') && retries.contains("--set"), "{retries}");
        let interface = line("broadcast.interface")?;
        ensure!(interface.contains("PORTOLAN_BROADCAST__INTERFACE"), "{interface}");
        line("broadcast.announce_interval")?;
        env.portolan(&["config", "check"])?.run()?.exits(0).map(drop)
    });
}

#[test]
fn completions_contain_the_commands() {
    isolated(|env| {
        for shell in ["bash", "zsh", "fish"] {
            let script = env.portolan(&["completions", shell])?.run()?.text()?;
            ensure!(script.contains("discover"), "{shell}: {script}");
        }
        Ok(())
    });
}
