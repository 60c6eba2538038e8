//! On one host a client reaches its registry by a Unix socket, and sends a token to no other user.

use std::fs;

use anyhow::{Context, Result, ensure};
use portolan_tests::{Process, TestEnv, isolated};

use super::{Eavesdropper, OTHER, TOKEN};

const LIST: &[&str] = &["list"];

fn registry(env: &TestEnv) -> Result<Process> {
    let mut registry = env.portolan(&["serve"])?.env("PORTOLAN_TOKEN", TOKEN).spawn("registry")?;
    registry.wait_for_line("Registry server started")?;
    Ok(registry)
}

/// Returns the sockets of registries in the runtime directory.
fn sockets(env: &TestEnv) -> Result<Vec<String>> {
    let entries = fs::read_dir(env.directory().join("run/portolan"))?.flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(names.filter(|name| name.ends_with(".sock")).collect())
}

#[test]
fn client_uses_the_socket_of_the_registry() {
    isolated(|env| {
        let mut registry = registry(env)?;
        ensure!(sockets(env)?.len() == 1, "{:?}", sockets(env)?);
        let list = || env.portolan(LIST)?.env("PORTOLAN_TOKEN", TOKEN).run();
        // Without loopback there is no TCP.
        env.change_network("ip link set lo down")?;
        list()?.exits(0)?;
        env.change_network("ip link set lo up")?;
        // By TCP if there is no socket.
        let socket = sockets(env)?.pop().context("no socket")?;
        fs::remove_file(env.directory().join("run/portolan").join(socket))?;
        list()?.exits(0)?;
        registry.terminate()?;
        ensure!(sockets(env)?.is_empty(), "{:?}", sockets(env)?);
        Ok(())
    });
}

#[test]
fn socket_that_a_killed_registry_left_behind_is_ignored_and_replaced() {
    isolated(|env| {
        let mut killed = registry(env)?;
        killed.kill()?;
        ensure!(sockets(env)?.len() == 1);
        env.portolan(LIST)?.env("PORTOLAN_TOKEN", TOKEN).run()?.exits(5)?;
        let _registry = registry(env)?;
        env.portolan(LIST)?.env("PORTOLAN_TOKEN", TOKEN).run()?.exits(0).map(drop)
    });
}

#[test]
fn token_is_not_sent_to_another_user_who_listens_on_the_port() {
    isolated(|env| {
        let thief = Eavesdropper::start(env, 7000, Some(OTHER))?;
        for command in [
            LIST,
            &["discover", "api"],
            &["watch"],
            &["heartbeat", "api-1"],
            &["register", "api", "--port", "8080"],
            &["exec", "--needs", "api", "--", "true"],
        ] {
            let refused = env.portolan(command)?.env("PORTOLAN_TOKEN", TOKEN).run()?.exits(6)?;
            let (user, remedy) = ("belongs to user", "discovery.registry_user");
            ensure!(refused.stderr.contains(user), "{command:?} {refused:?}");
            ensure!(refused.stderr.contains(remedy), "{command:?} {refused:?}");
        }
        ensure!(thief.heard()?.is_empty(), "{}", thief.heard()?);
        // Without a token nothing is given away, and a registry may run as the user that is configured.
        env.portolan(LIST)?.run()?;
        ensure!(!thief.heard()?.is_empty());
        let named = ["list", "--set", &format!("discovery.registry_user={OTHER}")];
        env.portolan(&named)?.env("PORTOLAN_TOKEN", TOKEN).run()?;
        ensure!(thief.heard()?.contains(TOKEN));
        Ok(())
    });
}

#[test]
fn socket_is_that_of_the_address_in_the_url() {
    isolated(|env| {
        let serve = |listen: &str| -> Result<Process> {
            let command = env.portolan(&["serve", "--listen", listen])?;
            let mut registry = command.env("PORTOLAN_TOKEN", TOKEN).spawn("registry")?;
            registry.wait_for_line("Registry server started")?;
            Ok(registry)
        };
        let (v4, v6) = ("http://127.0.0.1:7700", "http://[::1]:7700");
        let list = |url: &str| {
            env.portolan(&["list", "--registry", url])?.env("PORTOLAN_TOKEN", TOKEN).run()
        };
        // Nothing listens at the other address: it may be that of another registry, such as one that ssh(1) forwards.
        for (listen, own, other) in [("127.0.0.1:7700", v4, v6), ("[::1]:7700", v6, v4)] {
            let mut registry = serve(listen)?;
            ensure!(sockets(env)?.len() == 1, "{:?}", sockets(env)?);
            list(own)?.exits(0)?;
            list("http://localhost:7700")?.exits(0)?;
            list(other)?.exits(5)?;
            registry.terminate()?;
        }
        let _registry = serve("0.0.0.0:7700")?;
        list(v4)?.exits(0).map(drop)
    });
}
