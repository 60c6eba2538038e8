//! Services of a running stack that cannot be used: they are known, with their state, and never found.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use portolan_tests::{Process, TestEnv, http, isolated, over_each_store};

/// `crashed` ends, `silent` does not listen yet, `waiting` waits for it, `portless` has no port, and `api` works.
const STACK: &str = "\
name: shop
services:
  api: {command: 'python3 -m http.server {port} --bind 127.0.0.1'}
  crashed: {command: 'sh -c \"exit 7\"', port: 8090}
  silent-db: {command: 'sh -c \"until [ -e go ]; do sleep 0.1; done; exec python3 -m http.server $PORT --bind 127.0.0.1\"', port: 8091}
  waiting-web: {command: 'sleep 1000', port: 8092, needs: [silent-db]}
  portless: {command: 'sleep 1000', port: none}
";

/// Starts the stack in its own directory, and waits until the state of each service is known.
fn start(env: &TestEnv) -> Result<(Process, PathBuf)> {
    let file = env.write("shop/portolan.yaml", STACK)?;
    let folder = file.parent().context("no folder")?.to_owned();
    let mut up = env.portolan(&["up"])?.directory(&folder).spawn("up")?;
    up.wait_until("every service to be in its state", || {
        let listed = env.portolan(&["list", "--json"])?.directory(&folder).run()?.json()?;
        let mut states: Vec<String> = Vec::new();
        for one in listed["declared"].as_array().context("nothing declared")? {
            states.push(format!("{} {}", one["name"], one["state"]).replace('"', ""));
        }
        let expected =
            ["crashed crashed", "portless portless", "silent-db starting", "waiting-web waiting"];
        ensure!(states == expected, "{states:?}");
        ensure!(listed["services"].as_array().is_some_and(|all| all.len() == 1), "{listed}");
        Ok(())
    })?;
    Ok((up, folder))
}

#[test]
fn discover_and_exec_say_why_a_service_of_the_stack_cannot_be_used() {
    over_each_store(|env| {
        let (_up, folder) = start(env)?;
        for (name, expected) in [
            ("crashed", "error: `crashed` of stack `shop` crashed "),
            ("silent-db", "its program does not listen on port 8091 yet"),
            ("waiting-web", "it needs silent-db, not found yet"),
            ("portless", "`portless` of stack `shop` runs and has no port"),
        ] {
            let discover = env.portolan(&["discover", name])?.directory(&folder).run()?.exits(3)?;
            ensure!(discover.stderr.contains(expected), "{discover:?}");
            ensure!(!discover.stderr.contains("did you mean"), "{discover:?}");
            ensure!(discover.stdout.is_empty(), "{discover:?}");
            let exec = ["exec", "--needs", name, "--", "true"];
            let exec = env.portolan(&exec)?.directory(&folder).run()?.exits(3)?;
            ensure!(exec.stderr.contains(expected), "{exec:?}");
        }
        let crashed = env.portolan(&["discover", "crashed"])?.directory(&folder).run()?;
        ensure!(crashed.stderr.contains("exit status 7"), "{crashed:?}");
        ensure!(crashed.stderr.contains("the output of `portolan up` (process "), "{crashed:?}");
        Ok(())
    });
}

#[test]
fn list_shows_state_reason_and_age_without_an_address() {
    over_each_store(|env| {
        let (_up, folder) = start(env)?;
        let listed = env.portolan(&["list"])?.directory(&folder).run()?.text()?;
        let mut rows = listed.lines().map(str::trim);
        let row = rows.find(|line| line.starts_with("crashed")).context("no row")?;
        let columns: Vec<&str> = row.split_whitespace().collect();
        ensure!(columns[1] == "-" && columns[3] == "crashed" && columns[4] == "stack", "{row}");
        ensure!(columns[5].ends_with('s') && row.ends_with("exit status 7"), "{row}");
        let declared = http::get_json("http://127.0.0.1:7000/api/v1/services?name=crashed")?;
        ensure!(declared["services"].as_array().is_some_and(Vec::is_empty), "{declared}");
        ensure!(declared["declared"][0].get("port").is_none(), "{declared}");
        Ok(())
    });
}

#[test]
fn wait_waits_for_a_service_that_is_starting() {
    over_each_store(|env| {
        let (_up, folder) = start(env)?;
        let discover = ["discover", "silent-db", "--wait"];
        let mut waiting = env.portolan(&discover)?.directory(&folder).spawn("waiting")?;
        env.write("shop/go", "")?;
        let found = waiting.wait(portolan_tests::TIMEOUT)?.text()?;
        ensure!(found == "127.0.0.1:8091", "{found}");
        Ok(())
    });
}

#[test]
fn service_that_is_starting_hides_one_of_the_default_scope_and_a_server_on_its_port() {
    over_each_store(|env| {
        let (_up, folder) = start(env)?;
        let register = ["--scope", "default", "register", "silent-db", "--host", "127.0.0.1"];
        env.portolan(&register)?.args(&["--port", "9999"]).directory(&folder).run()?.exits(0)?;
        let found = env.portolan(&["discover", "silent-db"])?.directory(&folder).run()?.exits(3)?;
        ensure!(found.stdout.is_empty(), "{found:?}");
        // From elsewhere the other one is found.
        let url = "http://127.0.0.1:7000";
        let found = env.discover("silent-db", &["--registry", url])?.text()?;
        ensure!(found == "127.0.0.1:9999", "{found}");
        Ok(())
    });
}

#[test]
fn instances_of_a_killed_stack_in_its_data_directory_are_not_found_again() {
    isolated(|env| {
        let stack = |command: &str, port: u16| {
            let service = format!("  api: {{command: '{command}', port: {port}}}");
            format!("name: shop\nservice_registry: {{data_dir: state}}\nservices:\n{service}\n")
        };
        let serving = stack("python3 -m http.server {port} --bind 127.0.0.1", 8081);
        let file = env.write("shop/portolan.yaml", &serving)?;
        let folder = file.parent().context("no folder")?.to_owned();
        let mut up = env.portolan(&["up"])?.directory(&folder).spawn("up")?;
        up.wait_until("the api to be found", || {
            env.portolan(&["discover", "api"])?.directory(&folder).run()?.exits(0)
        })?;
        // Its program still listens on 8081, as any other program might by now.
        up.kill()?;
        env.write("shop/portolan.yaml", &stack("sleep 1000", 8090))?;
        let mut up = env.portolan(&["up"])?.directory(&folder).spawn("up-again")?;
        up.wait_until("the state of the api", || {
            let listed = env.portolan(&["list", "--json"])?.directory(&folder).run()?.exits(0)?;
            let listed = listed.json()?;
            ensure!(listed["declared"][0]["state"] == "starting", "{listed}");
            ensure!(listed["services"].as_array().is_some_and(Vec::is_empty), "{listed}");
            Ok(())
        })?;
        let discover = env.portolan(&["discover", "api"])?.directory(&folder).run()?.exits(3)?;
        ensure!(discover.stdout.is_empty(), "{discover:?}");
        Ok(())
    });
}

#[test]
fn program_on_another_port_and_the_owner_of_a_wanted_port_are_named() {
    isolated(|env| {
        let stack = "\
name: shop
services:
  api: {command: 'python3 -m http.server {port} --bind 127.0.0.1', port: 8000}
  site: {command: 'python3 -m http.server --bind 127.0.0.1', port: 8010}
  wrong: {command: 'python3 -m http.server 9998 --bind 127.0.0.1', port: 8090}
";
        env.write("portolan.yaml", stack)?;
        let _taken = env.foreign_listener(8000)?;
        let mut up = env.portolan(&["up"])?.spawn("up")?;
        let conflict = up.wait_for_line("preferred_port=8000")?;
        ensure!(conflict.contains("in_use_by=\"") && conflict.contains("(pid "), "{conflict}");
        // The option is its address only, so that the port is added.
        up.wait_for_line("site         | Serving HTTP on 127.0.0.1 port 8010")?;
        up.wait_for_line("wrong        * not listening, but on 9998")?;
        let warning = up.wait_for_line("listens_on=[9998]")?;
        ensure!(warning.contains("use {port} in its command"), "{warning}");
        let discover = env.portolan(&["discover", "wrong"])?.run()?.exits(3)?;
        ensure!(discover.stderr.contains("it listens on 9998: use {port}"), "{discover:?}");
        // Also of a registry that has just started, and says of nothing that it does not exist.
        let misspelt = env.portolan(&["discover", "stie"])?.run()?;
        ensure!(misspelt.stderr.contains("did you mean `site`?"), "{misspelt:?}");
        Ok(())
    });
}
