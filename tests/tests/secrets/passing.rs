//! Secrets are in no arguments, reach programs only if they are passed, and come from files that others cannot read.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use portolan_tests::{TestEnv, isolated, portolan_program};

use super::TOKEN;

const KEY: &str = "a key that nobody can guess 0123";
/// Prints the variables in which a secret could be.
const PRINT: [&str; 3] = ["sh", "-c", "env | grep -c -e TOKEN= -e KEY= ; exit 0"];

/// Starts a registry on loopback that requires the token.
fn registry(env: &TestEnv) -> Result<portolan_tests::Process> {
    let mut registry = env.portolan(&["serve"])?.env("PORTOLAN_TOKEN", TOKEN).spawn("registry")?;
    registry.wait_for_line("Registry server started")?;
    Ok(registry)
}

#[test]
fn secrets_are_refused_as_arguments() {
    isolated(|env| {
        for (setting, variable) in [
            ("token", "PORTOLAN_TOKEN"),
            ("broadcast.key", "PORTOLAN_BROADCAST_KEY"),
            ("tokens", "environment"),
        ] {
            let argument = format!("{setting}=hunter2hunter2hunter2");
            for command in
                [&["list"][..], &["serve"], &["ports", "alloc", "api"], &["config", "show"]]
            {
                let refused =
                    env.portolan(command)?.args(&["--set", &argument]).run()?.exits(2)?.stderr;
                ensure!(refused.contains(variable) && !refused.contains("hunter2"), "{refused}");
            }
        }
        Ok(())
    });
}

#[test]
fn programs_get_secrets_only_if_they_are_passed() {
    isolated(|env| {
        let _registry = registry(env)?;
        env.write(
            "stack/portolan.yaml",
            "services: {api: {command: [sh, -c, 'env > seen; sleep 1000'], port: none}}",
        )?;
        let with = |arguments: &[&str]| {
            let command = env.portolan(arguments)?.env("PORTOLAN_TOKEN", TOKEN);
            anyhow::Ok(command.env("PORTOLAN_BROADCAST_KEY", KEY))
        };
        with(&["register", "db", "--port", "5432", "--host", "10.9.9.9"])?.run()?.exits(0)?;
        let run = ["run", "--name", "api", "--health", "none"];
        let exec = ["exec", "--needs", "db"];
        for (command, passed, expected) in [
            (&run[..], &[][..], "0"),
            (&run, &["--pass-token"], "2"),
            (&exec, &[], "0"),
            (&exec, &["--pass-token"], "2"),
        ] {
            let call = with(command)?.args(passed).args(&["--"]).args(&PRINT);
            let seen = call.run()?.exits(0)?.stdout;
            ensure!(seen.trim() == expected, "{command:?} {passed:?}: {seen}");
        }

        let folder = env.directory().join("stack");
        let mut up = with(&["up"])?.directory(&folder).spawn("up")?;
        let seen = up.wait_until("the program to write its environment", || {
            let seen = fs::read_to_string(folder.join("seen"))?;
            ensure!(seen.contains("PORTOLAN_REGISTRY_URL"), "{seen}");
            Ok(seen)
        })?;
        ensure!(!seen.contains(TOKEN) && !seen.contains(KEY), "{seen}");
        Ok(())
    });
}

#[test]
fn lease_holder_has_no_secret() {
    isolated(|env| {
        let alloc = env.portolan(&[
            "ports",
            "alloc",
            "api",
            "--json",
            "--owner",
            "1",
            "--preferred",
            "8080",
        ])?;
        let held =
            alloc.env("PORTOLAN_TOKEN", TOKEN).env("PORTOLAN_BROADCAST_KEY", KEY).run()?.json()?;
        let pid = held["pid"].as_u64().context("no holder")?;
        for file in ["environ", "cmdline"] {
            let text = fs::read(format!("/proc/{pid}/{file}"))?;
            let text = String::from_utf8_lossy(&text);
            ensure!(!text.contains(TOKEN) && !text.contains(KEY), "{file}: {text}");
        }
        let lease = held["lease"].as_str().context("no lease")?;
        env.portolan(&["ports", "release", lease])?.run()?.exits(0).map(drop)
    });
}

#[test]
fn token_comes_from_a_file_a_descriptor_or_a_credential() {
    isolated(|env| {
        let _registry = registry(env)?;
        let file = env.write("credentials/portolan.token", &format!("{TOKEN}\n"))?;
        fs::set_permissions(&file, Permissions::from_mode(0o600))?;
        let path = file.display().to_string();
        let list = || env.portolan(&["list"]);
        list()?.run()?.exits(6)?;
        list()?.env("PORTOLAN_TOKEN_FILE", &path).run()?.exits(0)?;
        list()?.args(&["--set", &format!("token_file={path}")]).run()?.exits(0)?;
        let credentials = env.directory().join("credentials").display().to_string();
        list()?.env("CREDENTIALS_DIRECTORY", &credentials).run()?.exits(0)?;
        let mut shell = std::process::Command::new("sh");
        let program = portolan_program()?.display().to_string();
        shell.args(["-c", &format!("{program} list --set token_file=fd:7 7< {path}")]);
        env.spawn("shell", shell)?.wait(portolan_tests::TIMEOUT)?.exits(0)?;

        let check = || env.portolan(&["config", "check"])?.env("PORTOLAN_TOKEN_FILE", &path).run();
        check()?.exits(0)?;
        fs::set_permissions(&file, Permissions::from_mode(0o644))?;
        let refused = check()?.exits(2)?.stderr;
        ensure!(refused.contains("mode 0644") && refused.contains("chmod 600"), "{refused}");
        let refused = list()?.env("PORTOLAN_TOKEN_FILE", "/nonexistent").run()?.exits(2)?.stderr;
        ensure!(refused.contains("token_file"), "{refused}");
        Ok(())
    });
}

#[test]
fn clients_send_the_token_of_their_own_file() {
    isolated(|env| {
        let _registry = registry(env)?;
        let file = env.write("client.token", &format!("{TOKEN}\n"))?;
        fs::set_permissions(&file, Permissions::from_mode(0o600))?;
        let own = format!("discovery.token_file={}", file.display());
        let list = || Ok::<_, anyhow::Error>(env.portolan(&["list"])?.args(&["--set", &own]));
        list()?.run()?.exits(0)?;
        // It precedes the common token, and is passed on as a file.
        list()?.env("PORTOLAN_TOKEN", "not the token of this registry").run()?.exits(0)?;
        let print = ["run", "--name", "web", "--health", "none", "--set", &own, "--", "env"];
        let child = env.portolan(&print)?.run()?.exits(0)?.stdout;
        ensure!(child.contains(&format!("PORTOLAN_TOKEN_FILE={}", file.display())), "{child}");
        ensure!(!child.contains(TOKEN), "{child}");
        fs::set_permissions(&file, Permissions::from_mode(0o644))?;
        let refused = list()?.run()?.exits(2)?.stderr;
        ensure!(refused.contains("discovery.token_file"), "{refused}");
        Ok(())
    });
}

#[test]
fn configuration_check_opens_key_files() {
    isolated(|env| {
        let key = env.write("channel.key", KEY)?;
        env.write("named.yaml", "broadcast: {keys: [{id: a, file: channel.key}]}\n")?;
        let check = || env.portolan(&["config", "check", "named.yaml"])?.run();
        ensure!(check()?.exits(2)?.stderr.contains("broadcast.keys"));
        fs::set_permissions(&key, Permissions::from_mode(0o600))?;
        check()?.exits(0).map(drop)
    });
}

#[test]
fn empty_and_short_tokens_are_refused() {
    isolated(|env| {
        for command in [&["list"][..], &["serve"], &["run", "--", "true"]] {
            let refused = env.portolan(command)?.env("PORTOLAN_TOKEN", "").run()?.exits(2)?.stderr;
            ensure!(refused.contains("PORTOLAN_TOKEN") && refused.contains("empty"), "{refused}");
        }
        let serve = |address: &str| {
            let serve = env.portolan(&["serve", "--listen", address])?;
            anyhow::Ok(serve.env("PORTOLAN_TOKEN", "hunter2"))
        };
        let refused = serve("0.0.0.0:7000")?.run()?.exits(2)?.stderr;
        ensure!(refused.contains("7 bytes") && !refused.contains("hunter2"), "{refused}");
        let mut local = serve("127.0.0.1:7000")?.spawn("local")?;
        local.wait_for_line("Token of the registry is short").map(drop)
    });
}
