//! Each part by hand: ports, the registry, the broadcast channel, the configuration.

use anyhow::{Context, ensure};
use portolan_tests::{BRIEFLY, PATIENCE, isolated, wait_for};

#[test]
fn a_port_is_leased_listed_and_released() {
    isolated(|world| {
        let alloc = ["ports", "alloc", "postgres-1", "--json"];
        let lease = world.portolan(&alloc)?.run()?.json()?;
        ensure!(lease["port"] == 5432, "{lease}");
        let listed = world.portolan(&["ports", "list", "--json"])?.run()?.json()?;
        let holder = &listed["ports"][0];
        ensure!(holder["port"] == 5432 && holder["service"] == "postgres-1", "{listed}");
        let taken = world.portolan(&["ports", "check", "5432"])?.run()?.exits(4)?;
        ensure!(taken.stdout.contains("postgres-1"), "{taken:?}");

        // The number alone releases nothing: nobody frees another's port.
        world.portolan(&["ports", "release", "5432"])?.run()?.exits(1)?;
        let lease = lease["lease"].as_str().context("no lease to release")?;
        world.portolan(&["ports", "release", lease])?.run()?.exits(0)?;
        world.portolan(&["ports", "check", "5432"])?.run()?.exits(0).map(drop)
    });
}

#[test]
fn a_strangers_port_is_told_from_a_free_one() {
    isolated(|world| {
        let _stranger = world.stranger(8080)?;
        world.portolan(&["ports", "check", "8080"])?.run()?.exits(4)?;
        world.portolan(&["ports", "check", "8081"])?.run()?.exits(0).map(drop)
    });
}

#[test]
fn a_service_is_registered_kept_and_removed() {
    isolated(|world| {
        let _registry = world.registry()?;
        let id = "api-by-hand";
        let register = ["register", "api", "--port", "8080", "--id", id, "--meta", "zone=a"];
        world.portolan(&register)?.run()?.exits(0)?;
        world.portolan(&["heartbeat", id])?.run()?.exits(0)?;
        world.portolan(&["health", id, "warning", "--reason", "slow"])?.run()?.exits(0)?;
        let found = world.discover("api", &["--json"])?.json()?;
        ensure!(found["metadata"]["zone"] == "a" && found["health"] == "warning", "{found}");
        world.portolan(&["deregister", id])?.run()?.exits(0)?;
        for command in ["deregister", "heartbeat"] {
            let answer = world.portolan(&[command, id])?.run()?.exits(3)?;
            ensure!(answer.stderr.contains(id), "{answer:?}");
        }
        world.discover("api", &BRIEFLY)?.exits(3).map(drop)
    });
}

#[test]
fn without_a_registry_it_says_that_it_cannot_be_reached() {
    isolated(|world| {
        let register = ["register", "api", "--port", "8080"];
        let answer = world.portolan(&register)?.run()?.exits(5)?;
        ensure!(answer.stderr.contains("portolan serve"), "{answer:?}");
        Ok(())
    });
}

#[test]
fn an_announcement_is_heard_and_reaches_the_registry() {
    isolated(|world| {
        let mut listen = world.portolan(&["listen", "--json"])?.spawn("listen")?;
        let announce = ["announce", "postgres-9", "--port", "5439"];
        // Nothing says when the listener has joined; whoever comes late hears the next one.
        wait_for("the announcement to be heard", || {
            world.portolan(&announce)?.run()?.exits(0)?;
            ensure!(listen.stdout().contains("postgres-9"), "not heard");
            Ok(())
        })?;
        listen.terminate()?.exits(0)?;
        let _registry = world.registry()?;
        world.portolan(&announce)?.run()?.exits(0)?;
        let imported = world.registered_are("postgres-9", 1, PATIENCE)?;
        ensure!(imported[0]["port"] == 5439, "{imported:?}");
        Ok(())
    });
}

#[test]
fn every_setting_in_force_says_where_it_came_from() {
    isolated(|world| {
        world.write("portolan.yaml", "discovery:\n  timeouts:\n    overall: 20s\n")?;
        let show = ["config", "show", "--set", "discovery.retries=7"];
        let shown = world.portolan(&show)?.run()?.text()?;
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
        world.portolan(&["config", "check"])?.run()?.exits(0).map(drop)
    });
}

#[test]
fn the_completions_name_the_commands() {
    isolated(|world| {
        for shell in ["bash", "zsh", "fish"] {
            let script = world.portolan(&["completions", shell])?.run()?.text()?;
            ensure!(script.contains("discover"), "{shell}: {script}");
        }
        Ok(())
    });
}
