//! With a token or a key, an answer that anybody could give does not count.

use anyhow::{Result, ensure};
use portolan_tests::{Output, Process, SHORT_BROADCAST_WAIT, TestEnv, isolated, wait_for};
use rustix::process::Signal;

use super::TOKEN;

const KEY: &str = "a key that nobody can guess 0123";
const BINDER: &str = env!("CARGO_BIN_EXE_late-binder");

fn registry(env: &TestEnv) -> Result<Process> {
    let settled = ["serve", "--set", "service_registry.ttl_default=2s"];
    let serve = env.portolan(&settled)?.env("PORTOLAN_TOKEN", TOKEN);
    let mut registry = serve.spawn("registry")?;
    registry.wait_for_line("Registry server started")?;
    wait_for("the answers to be complete", || {
        let list = env.portolan(&["list", "--json"])?.env("PORTOLAN_TOKEN", TOKEN).run()?.json()?;
        ensure!(list["incomplete"] != true, "{list}");
        Ok(())
    })?;
    Ok(registry)
}

/// Starts a service that only the broadcast channel knows, as of another user who has neither token nor key.
fn liar(env: &TestEnv, name: &str) -> Result<Process> {
    let elsewhere = env.folder("elsewhere")?.display().to_string();
    let options = ["--registry", "http://127.0.0.1:7999", "--preferred", "6666", "--name", name];
    let run = env.portolan(&["run"])?.args(&options).args(&["--", BINDER, "{port}"]);
    let mut liar = run.env("XDG_RUNTIME_DIR", &elsewhere).spawn("liar")?;
    liar.wait_for_line("bound 6666")?;
    Ok(liar)
}

/// Runs a command with a token, or a key.
fn ask(env: &TestEnv, command: &[&str], secret: (&str, &str)) -> Result<Output> {
    let (first, rest) = command.split_first().unwrap_or((&"", &[]));
    let command = env.portolan(&[*first])?.args(&SHORT_BROADCAST_WAIT).args(rest);
    command.env(secret.0, secret.1).run()
}

const WITH_TOKEN: (&str, &str) = ("PORTOLAN_TOKEN", TOKEN);

#[test]
fn not_found_of_an_authenticated_registry_is_final() {
    isolated(|env| {
        let _registry = registry(env)?;
        let _liar = liar(env, "payments")?;
        wait_for("the liar to be heard by who has no token", || {
            ensure!(
                env.discover("payments", &["--strategy", "broadcast"])?.text()?.ends_with(":6666")
            );
            Ok(())
        })?;
        let missing = ask(env, &["discover", "payments", "--explain"], WITH_TOKEN)?.exits(3)?;
        ensure!(missing.stderr.contains("authenticated registry knows no instance"), "{missing:?}");
        let all = ask(env, &["discover", "payments", "--all"], WITH_TOKEN)?.exits(3)?;
        ensure!(all.stdout.is_empty(), "{all:?}");
        let exec = ["exec", "--needs", "payments", "--", "env"];
        ask(env, &exec, WITH_TOKEN)?.exits(3).map(drop)
    });
}

#[test]
fn registry_that_does_not_answer_is_not_replaced_by_an_unsigned_answer() {
    isolated(|env| {
        let registry = registry(env)?;
        let _liar = liar(env, "payments")?;
        let register =
            ["register", "payments", "--host", "10.9.9.9", "--port", "5432", "--ttl", "1h"];
        ask(env, &register, WITH_TOKEN)?.exits(0)?;
        let found = ask(env, &["discover", "payments", "--json"], WITH_TOKEN)?.json()?;
        ensure!(found["trust"] == "authenticated" && found["host"] == "10.9.9.9", "{found}");

        registry.signal(Signal::STOP)?;
        let failed = ask(env, &["discover", "payments"], WITH_TOKEN)?.exits(5)?;
        ensure!(failed.stderr.contains("its answers are not signed"), "{failed:?}");
        ask(env, &["exec", "--needs", "payments", "--", "env"], WITH_TOKEN)?.exits(5)?;
        ask(env, &["list"], WITH_TOKEN)?.exits(5)?;
        // Who names the strategy gets its answer, and is told what it is worth.
        let named = ["discover", "payments", "--strategy", "registry,broadcast", "--json"];
        let found = ask(env, &named, WITH_TOKEN)?.json()?;
        ensure!(found["trust"] == "unsigned" && found["port"] == 6666, "{found}");
        registry.signal(Signal::CONT)?;
        ask(env, &["discover", "payments"], WITH_TOKEN)?.exits(0).map(drop)
    });
}

/// A repository that was downloaded must not decide that answers of anybody count.
#[test]
fn file_of_the_folder_switches_no_unsigned_strategy_on() {
    isolated(|env| {
        let _liar = liar(env, "payments")?;
        let folder = env.folder("repository")?;
        env.write("repository/portolan.yaml", "discovery: {strategies: [broadcast]}\n")?;
        let in_folder = |command: &[&str], token: bool| {
            let command = env.portolan(command)?.args(&SHORT_BROADCAST_WAIT).directory(&folder);
            match token {
                true => command.env(WITH_TOKEN.0, WITH_TOKEN.1).run(),
                false => command.run(),
            }
        };
        wait_for("the liar to be heard by who has no token", || {
            let found = in_folder(&["discover", "payments"], false)?.exits(0)?;
            ensure!(found.stdout.trim_end().ends_with(":6666"), "{found:?}");
            Ok(())
        })?;
        let refused = in_folder(&["discover", "payments", "--explain"], true)?;
        ensure!(refused.code != Some(0) && refused.stdout.is_empty(), "{refused:?}");
        ensure!(refused.stderr.contains("its answers are not signed"), "{refused:?}");
        in_folder(&["list"], true)?.exits(5)?;

        // Who names it, or trusts the file, gets its answer.
        in_folder(&["discover", "payments", "--strategy", "broadcast"], true)?.exits(0)?;
        env.portolan(&["trust", "."])?.directory(&folder).run()?.exits(0)?;
        in_folder(&["discover", "payments"], true)?.exits(0).map(drop)
    });
}

#[test]
fn port_by_convention_does_not_count_with_a_token() {
    isolated(|env| {
        let _redis = portolan_tests::redis::start(env, 6379)?;
        ensure!(env.discover("redis", &SHORT_BROADCAST_WAIT)?.text()?.ends_with(":6379"));
        let _registry = registry(env)?;
        let missing = ask(env, &["discover", "redis"], WITH_TOKEN)?.exits(3)?;
        ensure!(missing.stderr.contains("has no lease"), "{missing:?}");
        Ok(())
    });
}

#[test]
fn signed_announcements_count_with_a_key() {
    isolated(|env| {
        let key = ("PORTOLAN_BROADCAST_KEY", KEY);
        let _liar = liar(env, "payments")?;
        let program = ["run", "--name", "orders", "--preferred", "8123", "--", BINDER, "{port}"];
        let elsewhere = env.folder("third")?.display().to_string();
        let run = env.portolan(&program)?.env(key.0, key.1).env("XDG_RUNTIME_DIR", &elsewhere);
        let mut run = run.spawn("orders")?;
        run.wait_for_line("bound 8123")?;
        let explained = wait_for("the signed announcement to be heard", || {
            ask(env, &["discover", "orders", "--explain"], key)?.exits(0)
        })?;
        ensure!(explained.stderr.contains("(broadcast: announced, signed)"), "{explained:?}");
        let missing = ask(env, &["discover", "payments"], key)?;
        ensure!(missing.code != Some(0), "{missing:?}");
        Ok(())
    });
}
