//! A portolan.yaml that somebody else has written decides nothing about secrets.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Result, ensure};
use portolan_tests::{Output, TestEnv, isolated};

use super::{Eavesdropper, OTHER, TOKEN, chown};

const ELSEWHERE: &str = "http://127.0.0.1:9999";

/// The commands that talk to the registry.
const COMMANDS: [&[&str]; 8] = [
    &["list"],
    &["discover", "api", "--strategy", "registry"],
    &["watch"],
    &["doctor"],
    &["exec", "--needs", "api", "--", "true"],
    &["heartbeat", "api-1"],
    &["register", "api", "--port", "8080"],
    &["run", "--name", "api", "--health", "none", "--", "true"],
];

/// Runs a command in a folder with a token in the environment.
fn run_in(env: &TestEnv, folder: &Path, command: &[&str]) -> Result<Output> {
    env.portolan(command)?.directory(folder).env("PORTOLAN_TOKEN", TOKEN).run()
}

#[test]
fn token_is_not_sent_where_a_file_of_the_folder_says() {
    isolated(|env| {
        let attacker = Eavesdropper::start(env, 9999, None)?;
        let file = format!("discovery: {{registry_url: \"{ELSEWHERE}\"}}\n");
        env.write("repository/portolan.yaml", &file)?;
        let folder = env.directory().join("repository");
        for command in COMMANDS {
            let refused = run_in(env, &folder, command)?.exits(2)?.stderr;
            for part in ["portolan.yaml:1:27", "PORTOLAN_TOKEN", "portolan trust portolan.yaml"] {
                ensure!(refused.contains(part), "{command:?}: {refused}");
            }
        }
        ensure!(attacker.heard()?.is_empty(), "{}", attacker.heard()?);

        // The same address from the user, or from a file that the user trusts, gets it.
        run_in(env, &folder, &["list", "--registry", ELSEWHERE])?;
        ensure!(attacker.heard()?.contains(TOKEN));
        fs::write(env.directory().join("heard-9999"), "")?;
        run_in(env, &folder, &["trust", "."])?.exits(0)?;
        run_in(env, &folder, &["list"])?;
        ensure!(attacker.heard()?.contains(TOKEN));
        let trusted = run_in(env, &folder, &["trust", "--list"])?.exits(0)?.stdout;
        ensure!(trusted.contains("repository/portolan.yaml"), "{trusted}");

        // A change ends the trust.
        env.write("repository/portolan.yaml", &format!("# more\n{file}"))?;
        run_in(env, &folder, &["list"])?.exits(2)?;
        run_in(env, &folder, &["trust", "--revoke", "portolan.yaml"])?.exits(0)?;
        run_in(env, &folder, &["trust", "--revoke", "portolan.yaml"])?.exits(1).map(drop)
    });
}

#[test]
fn file_of_the_folder_does_not_redirect_the_key_the_name_servers_or_the_runtime_directory() {
    isolated(|env| {
        let folder = env.folder("repository")?;
        let other = env.write("other.key", "a key of another application, 123\n")?;
        fs::set_permissions(&other, Permissions::from_mode(0o600))?;
        let other = other.display();
        for (setting, file) in [
            ("discovery.dns.servers", "discovery: {dns: {servers: [\"10.9.9.9:53\"]}}".to_owned()),
            ("discovery.tls.ca", "discovery: {tls: {ca: ./ca.pem}}".to_owned()),
            ("discovery.tls.key", format!("discovery: {{tls: {{key: {other}}}}}")),
            (
                "service_registry.etcd.tls.key",
                format!("service_registry: {{etcd: {{tls: {{key: {other}}}}}}}"),
            ),
            (
                "service_registry.consul.tls.key",
                format!("service_registry: {{consul: {{tls: {{key: {other}}}}}}}"),
            ),
            ("health.tls.key", format!("health: {{tls: {{key: {other}}}}}")),
            ("port_allocator.runtime_dir", "port_allocator: {runtime_dir: ./run}".to_owned()),
            ("broadcast.peers", "broadcast: {peers: [\"10.9.9.9:7001\"]}".to_owned()),
            ("token_file", format!("token_file: {other}")),
            ("discovery.token_file", format!("discovery: {{token_file: {other}}}")),
            ("broadcast.keys", format!("broadcast: {{keys: [{{id: a, file: {other}}}]}}")),
        ] {
            env.write("repository/portolan.yaml", &file)?;
            let list = env.portolan(&["list"])?.directory(&folder).env("PORTOLAN_TOKEN", TOKEN);
            let key = "a key that nobody can guess 0123";
            let refused = list.env("PORTOLAN_BROADCAST_KEY", key).run()?.exits(2)?.stderr;
            ensure!(refused.contains(setting), "{setting}: {refused}");
            ensure!(refused.contains("portolan trust portolan.yaml"), "{refused}");
            ensure!(!refused.contains(key) && !refused.contains(TOKEN), "{refused}");
        }
        Ok(())
    });
}

#[test]
fn file_of_the_folder_does_not_decide_who_signs_for_a_store() {
    isolated(|env| {
        let folder = env.folder("repository")?;
        let secret = env.write("store.secret", "a password of this user\n")?;
        fs::set_permissions(&secret, Permissions::from_mode(0o600))?;
        for (store, variable) in [
            ("etcd", "PORTOLAN_SERVICE_REGISTRY__ETCD__PASSWORD_FILE"),
            ("consul", "PORTOLAN_SERVICE_REGISTRY__CONSUL__TOKEN_FILE"),
        ] {
            let file = format!("service_registry: {{{store}: {{tls: {{ca: ./ca.pem}}}}}}\n");
            env.write("repository/portolan.yaml", &file)?;
            let show = env.portolan(&["config", "show"])?.directory(&folder);
            let refused = show.env(variable, &secret.display().to_string()).run()?.exits(2)?;
            let setting = format!("service_registry.{store}.tls.ca");
            ensure!(refused.stderr.contains(&setting), "{refused:?}");
        }
        Ok(())
    });
}

#[test]
fn file_that_others_can_change_is_refused_until_it_is_trusted() {
    isolated(|env| {
        let folder = env.folder("shared")?;
        let file = env.write("shared/portolan.yaml", "scope: shared\n")?;
        let show = || env.portolan(&["config", "show"])?.directory(&folder).run();
        show()?.exits(0)?;
        fs::set_permissions(&file, Permissions::from_mode(0o666))?;
        let refused = show()?.exits(2)?.stderr;
        ensure!(refused.contains("mode 0666"), "{refused}");
        fs::set_permissions(&file, Permissions::from_mode(0o644))?;
        fs::set_permissions(&folder, Permissions::from_mode(0o777))?;
        ensure!(show()?.exits(2)?.stderr.contains("its folder"));
        // In a sticky folder such as /tmp nobody else can replace the file.
        fs::set_permissions(&folder, Permissions::from_mode(0o1777))?;
        show()?.exits(0)?;

        chown(&file, OTHER)?;
        for command in [&["list"][..], &["ports", "list"], &["up"], &["config", "check"]] {
            let refused = env.portolan(command)?.directory(&folder).run()?.exits(2)?.stderr;
            ensure!(refused.contains(&format!("belongs to user {OTHER}")), "{refused}");
            ensure!(refused.contains("portolan trust portolan.yaml"), "{refused}");
        }
        // A file that is named is meant.
        let named = ["config", "check", "portolan.yaml"];
        env.portolan(&named)?.directory(&folder).run()?.exits(0)?;
        env.portolan(&["trust", "portolan.yaml"])?.directory(&folder).run()?.exits(0)?;
        show()?.exits(0).map(drop)
    });
}

#[test]
fn token_can_be_named_for_a_registry() {
    isolated(|env| {
        let attacker = Eavesdropper::start(env, 9999, None)?;
        let folder = env.folder("repository")?;
        env.write(
            "repository/portolan.yaml",
            &format!("discovery: {{registry_url: \"{ELSEWHERE}\"}}\n"),
        )?;
        let list = |tokens: &str| {
            let list = env.portolan(&["list"])?.directory(&folder);
            list.env("PORTOLAN_TOKEN", "the token of another registry")
                .env("PORTOLAN_TOKENS", tokens)
                .run()
        };
        list("{\"http://127.0.0.1:9998\": for-another-one}")?.exits(2)?;
        ensure!(attacker.heard()?.is_empty());
        list(&format!("{{\"{ELSEWHERE}/\": {TOKEN}}}"))?;
        let heard = attacker.heard()?;
        ensure!(heard.contains(TOKEN) && !heard.contains("another"), "{heard}");
        Ok(())
    });
}
