//! The exit statuses of every command that asks a registry: 5 if it cannot be reached, 6 if it does not permit the
//! request.

use anyhow::{Context, Result, ensure};
use portolan_tests::{Output, TIMEOUT, TestEnv, isolated, over_each_store};

/// Every command that asks a registry, with its arguments.
const COMMANDS: [&[&str]; 13] = [
    &["list"],
    &["list", "api", "--json"],
    &["watch"],
    &["watch", "api"],
    &["watch", "--from", "1"],
    &["discover", "api", "--strategy", "registry"],
    &["discover", "api", "--strategy", "registry", "--all"],
    &["exec", "--needs", "api", "--", "true"],
    &["register", "api", "--port", "8080"],
    &["deregister", "api-1"],
    &["heartbeat", "api-1"],
    &["health", "api-1", "passing"],
    &["discover", "api", "--strategy", "registry", "--json"],
];
/// A port on which nothing listens.
const NOWHERE: &str = "http://127.0.0.1:7999";

/// Runs a command with these options, which come before the `--` of `exec`.
fn run(env: &TestEnv, command: &[&str], options: &[&str]) -> Result<Output> {
    let (first, rest) = command.split_first().context("no command")?;
    let mut call = env.portolan(&[first])?.args(options).args(rest).spawn(first)?;
    call.wait(TIMEOUT)
}

#[test]
fn unreachable_registry_exits_with_5() {
    isolated(|env| {
        for command in COMMANDS {
            let options = ["--registry", NOWHERE, "--set", "broadcast.enabled=false"];
            let answer = run(env, command, &options)?.exits(5).context(command.join(" "))?;
            ensure!(answer.stderr.contains("check that `portolan serve` is running"), "{answer:?}");
        }
        Ok(())
    });
}

#[test]
fn wrong_token_exits_with_6() {
    over_each_store(|env| {
        env.write("server.yaml", "token: right\n")?;
        env.write("wrong.yaml", "token: wrong\n")?;
        let mut registry = env.portolan(&["serve", "--config", "server.yaml"])?.spawn("serve")?;
        registry.wait_for_line("Registry server started")?;
        for command in COMMANDS {
            let options = ["--registry", "http://127.0.0.1:7000", "--config", "wrong.yaml"];
            let answer = run(env, command, &options)?.exits(6).context(command.join(" "))?;
            ensure!(answer.stderr.contains("PORTOLAN_TOKEN"), "{answer:?}");
        }
        // Waiting does not help, so it ends at once.
        let wait = ["exec", "--needs", "api", "--wait=1h", "--config", "wrong.yaml", "--", "true"];
        env.portolan(&wait)?.run()?.exits(6)?;
        let run = ["run", "--name", "api", "--config", "wrong.yaml", "--health", "none", "--"];
        env.portolan(&run)?.args(&["sleep", "1000"]).run()?.exits(6).map(drop)
    });
}

#[test]
fn wait_that_ends_without_a_ready_instance_exits_with_124() {
    isolated(|env| {
        let _registry = env.settled_registry()?;
        let wait = "--wait=300ms";
        let reachable = ["--set", "broadcast.enabled=false"];
        let unreachable = [&reachable[..], &["--registry", NOWHERE]].concat();
        for options in [&reachable[..], &unreachable] {
            for command in
                [&["discover", "api", wait][..], &["exec", "--needs", "api", wait, "--", "true"]]
            {
                let answer = run(env, command, options)?.exits(124).context(command.join(" "))?;
                ensure!(answer.stderr.contains("api was not ready within 300ms"), "{answer:?}");
            }
        }
        // Without it, the lookup says what it found out.
        for command in [&["discover", "api"][..], &["exec", "--needs", "api", "--", "true"]] {
            run(env, command, &reachable)?.exits(3).context(command.join(" "))?;
        }
        Ok(())
    });
}

#[test]
fn watch_that_was_connected_waits_for_the_registry_with_a_message() {
    over_each_store(|env| {
        let mut registry = env.registry()?;
        let options = ["watch", "api", "--set", "broadcast.enabled=false"];
        let mut watch = env.portolan(&options)?.spawn("watch")?;
        watch.wait_for_line("snapshot of 0")?;
        if env.starts_incomplete() {
            watch.wait_for_line("the registry has just started")?;
        }
        registry.terminate()?.exits(0)?;
        watch.wait_for_line("Registry watch lost, reconnecting")?;
        let _registry = env.registry()?;
        env.portolan(&["register", "api", "--port", "8080"])?.run()?.exits(0)?;
        watch.wait_for_line("api 127.0.0.1:8080")?;
        watch.terminate()?.exits(0).map(drop)
    });
}

#[test]
fn request_of_another_owner_exits_with_6_and_a_remedy() {
    over_each_store(|env| {
        let _registry = env.registry()?;
        let register =
            ["register", "api", "--port", "8080", "--id", "api-1", "--incarnation", "a1"];
        let registered = env.portolan(&register)?.run()?.exits(0)?;
        let renewal = "portolan heartbeat api-1 --incarnation 00000000000000a1";
        ensure!(registered.stderr.contains(renewal), "{registered:?}");
        for command in
            [&["heartbeat", "api-1"][..], &["health", "api-1", "passing"], &["deregister", "api-1"]]
        {
            let refused = env.portolan(command)?.args(&["--incarnation", "b2"]).run()?.exits(6)?;
            let stderr = &refused.stderr;
            ensure!(stderr.contains("another registrant") && stderr.contains("remedy"), "{stderr}");
            env.portolan(command)?.args(&["--incarnation", "a1"]).run()?.exits(0)?;
        }
        Ok(())
    });
}

#[test]
fn id_of_another_host_is_taken_over_with_replace_only() {
    isolated(|env| {
        let (registry_host, one, two) = (env.host(1)?, env.host(2)?, env.host(3)?);
        let _registry = registry_host.registry(&[])?;
        let url = registry_host.registry_url();
        let register = ["register", "api", "--port", "8080", "--id", "api-1", "--registry", &url];
        one.portolan(&register)?.run()?.exits(0)?;
        let refused = two.portolan(&register)?.run()?.exits(6)?;
        ensure!(refused.stderr.contains("--replace"), "{refused:?}");
        two.portolan(&register)?.arg("--replace").run()?.exits(0)?;
        two.finds("api", &["--registry", &url], "10.77.0.3:8080")
    });
}

/// Runs `list` below a limit of setrlimit(2), as another user than root, whom the limit of processes does not concern.
fn list_below(env: &TestEnv, limit: &str) -> Result<Output> {
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid=12345", "--regid=12345", "--clear-groups", "--inh-caps=-all"]);
    command.args(["prlimit", limit]).arg(portolan_tests::portolan_program()?);
    command.args(["--set", "broadcast.enabled=false", "--registry", NOWHERE, "list"]);
    env.spawn("limited", command)?.wait(TIMEOUT)
}

#[test]
fn too_few_descriptors_or_processes_are_an_error_with_a_remedy() {
    isolated(|env| {
        let limits = (4..12).map(|files| format!("--nofile={files}"));
        for limit in limits.chain((1..5).map(|processes| format!("--nproc={processes}"))) {
            let listed = list_below(env, &limit)?;
            ensure!(matches!(listed.code, Some(1 | 5)), "{limit}: {listed:?}");
            ensure!(listed.stderr.contains("remedy: "), "{limit}: {listed:?}");
            ensure!(!listed.stderr.contains("panicked"), "{limit}: {listed:?}");
        }
        // Fewer than Tokio needs.
        let files = list_below(env, "--nofile=6")?.exits(1)?.stderr;
        ensure!(files.contains("`ulimit -n`"), "{files}");
        let processes = list_below(env, "--nproc=2")?.exits(1)?.stderr;
        ensure!(processes.contains("`ulimit -u`"), "{processes}");
        Ok(())
    });
}
