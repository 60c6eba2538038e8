//! Policies and tokens in the store of a registry.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use portolan_tests::{Process, REGISTRY, TestEnv, etcd, http, isolated, wait_for};

/// The token that permits writing the first policies.
const ROOT: &str = "root-token-of-the-registry";
/// The second server over the same store.
const OTHER: &str = "http://127.0.0.1:7100";
const POLICIES: &str = "\
policies:
  everything:
    - rights: [read, watch, register, heartbeat, configure]
      scopes: ['*']
      services: ['*']
  nothing: []
identities:
  payments: {policies: [everything]}
";

/// Starts a registry whose policies are in its store.
fn registry(env: &TestEnv, url: &str, options: &[String]) -> Result<Process> {
    let token = root_token(env)?.display().to_string();
    let mut all = vec!["--set".to_owned(), format!("token_file={token}")];
    all.extend(["--set".to_owned(), "service_registry.policies=store".to_owned()]);
    all.extend_from_slice(options);
    env.quiet_registry(url, &all)
}

fn root_token(env: &TestEnv) -> Result<PathBuf> {
    let file = env.write("root.token", ROOT)?;
    fs::set_permissions(&file, Permissions::from_mode(0o600))?;
    Ok(file)
}

/// Runs a command as the administrator, with the registry at this URL.
fn administrate(env: &TestEnv, url: &str, arguments: &[&str], status: i32) -> Result<String> {
    let command = env.portolan(arguments)?.env("PORTOLAN_TOKEN", ROOT);
    let output = command.env("PORTOLAN_REGISTRY_URL", url).run()?.exits(status)?;
    Ok(if status == 0 { output.stdout } else { output.stderr })
}

/// The status of a request for the list of services with a token.
fn status(url: &str, token: &str) -> Result<u16> {
    let request = http::client()?.get(format!("{url}/api/v1/services")).bearer_auth(token);
    Ok(request.send()?.status().as_u16())
}

fn wait_for_status(url: &str, token: &str, expected: u16) -> Result<()> {
    wait_for("another answer to the token", || {
        let found = status(url, token)?;
        ensure!(found == expected, "{found} at {url}");
        Ok(())
    })
}

#[test]
fn policies_and_tokens_in_etcd_hold_at_all_servers() {
    isolated(|env| {
        let _etcd = etcd::start(env)?;
        let _first = registry(env, REGISTRY, &etcd::options())?;
        let mut other = registry(env, OTHER, &etcd::options())?;
        let before = administrate(env, REGISTRY, &["token", "list", "--policies", "store"], 1)?;
        ensure!(before.contains("config set portolan-policies"), "{before}");

        let file = env.write("policies.yaml", POLICIES)?.display().to_string();
        administrate(env, REGISTRY, &["config", "set", "portolan-policies", "--file", &file], 0)?;
        let store = ["--policies", "store"];
        let create = [&["token", "create", "payments"][..], &store].concat();
        let token = administrate(env, OTHER, &create, 0)?.trim().to_owned();
        wait_for_status(REGISTRY, &token, 200)?;
        wait_for_status(OTHER, &token, 200)?;

        // Rights to every service are none to the policies.
        let raise = ["config", "set", "portolan-policies", "policies.nothing=null"];
        let as_payments = env.portolan(&raise)?.env("PORTOLAN_TOKEN", &token).run()?.exits(6)?;
        ensure!(as_payments.stderr.contains("`administer`"), "{}", as_payments.stderr);
        let get = ["config", "get", "portolan-tokens"];
        env.portolan(&get)?.env("PORTOLAN_TOKEN", &token).run()?.exits(6)?;

        // Invalid policies change nothing.
        let invalid =
            ["config", "set", "portolan-policies", r#"identities.payments.policies=["al"]"#];
        let refused = administrate(env, REGISTRY, &invalid, 1)?;
        ensure!(refused.contains("there is no policy \"al\""), "{refused}");
        ensure!(status(OTHER, &token)? == 200);

        // A server that starts later knows them, and keeps the rights in force.
        other.terminate()?;
        let _other = registry(env, OTHER, &etcd::options())?;
        wait_for_status(OTHER, &token, 200)?;

        let none = r#"identities.payments.policies=["nothing"]"#;
        administrate(env, OTHER, &["config", "set", "portolan-policies", none], 0)?;
        wait_for_status(REGISTRY, &token, 403)?;
        administrate(env, REGISTRY, &["config", "rollback", "portolan-policies", "1"], 0)?;
        wait_for_status(OTHER, &token, 200)?;

        let list = [&["token", "list", "--json"][..], &store].concat();
        let listed: serde_json::Value = serde_json::from_str(&administrate(env, OTHER, &list, 0)?)?;
        let id = listed["tokens"][0]["id"].as_str().context("the id")?.to_owned();
        administrate(env, REGISTRY, &[&["token", "revoke", &id][..], &store].concat(), 0)?;
        wait_for_status(OTHER, &token, 403)?;
        wait_for_status(REGISTRY, &token, 403)?;
        // Earlier policies bring no revoked token back.
        administrate(env, REGISTRY, &["config", "rollback", "portolan-policies", "2"], 0)?;
        ensure!(status(REGISTRY, &token)? == 403);
        Ok(())
    });
}

#[test]
fn policies_in_a_data_directory_outlive_a_crash() {
    isolated(|env| {
        let data = ["--data-dir".to_owned(), env.directory().join("data").display().to_string()];
        let mut first = registry(env, REGISTRY, &data)?;
        let file = env.write("policies.yaml", POLICIES)?.display().to_string();
        administrate(env, REGISTRY, &["config", "set", "portolan-policies", "--file", &file], 0)?;
        let create = ["token", "create", "payments", "--policies", "store"];
        let token = administrate(env, REGISTRY, &create, 0)?.trim().to_owned();
        wait_for_status(REGISTRY, &token, 200)?;
        first.kill()?;
        let _second = registry(env, REGISTRY, &data)?;
        ensure!(status(REGISTRY, &token)? == 200);
        ensure!(status(REGISTRY, "guessed")? == 403);
        let journal = fs::read_dir(env.directory().join("data"))?;
        for file in journal {
            let text = fs::read(file?.path())?;
            ensure!(!String::from_utf8_lossy(&text).contains(&token), "only the digest is kept");
        }
        Ok(())
    });
}

#[test]
fn policies_in_the_store_need_a_token() {
    isolated(|env| {
        let set = ["config", "check", "--set", "service_registry.policies=store"];
        let refused = env.portolan(&set)?.run()?.exits(2)?.stderr;
        ensure!(refused.contains("need a token") && refused.contains("token_file"), "{refused}");
        let token = format!("token_file={}", root_token(env)?.display());
        env.portolan(&set)?.args(&["--set", &token]).run()?.exits(0).map(drop)
    });
}
