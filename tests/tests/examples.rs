//! Runs the library's examples.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use portolan_tests::{Process, TIMEOUT, TestEnv, isolated, over_each_store};
use rustix::process::Signal;

fn example(env: &TestEnv, name: &str, arguments: &[&str]) -> Result<Process> {
    let mut command = Command::new(portolan_tests::target_directory()?.join("examples").join(name));
    ensure!(
        std::path::Path::new(command.get_program()).is_file(),
        "the example {name} is not built; build it with `cargo build -p portolan --examples`"
    );
    command.args(arguments).current_dir(env.directory());
    env.spawn(name, command)
}

#[test]
fn lease_becomes_a_listener_on_its_port() {
    isolated(|env| {
        let lease = example(env, "lease", &[])?.wait(TIMEOUT)?.text()?;
        ensure!(lease.contains("granted 8080") && lease.contains(":8080"), "{lease}");
        let _foreign = env.foreign_listener(8080)?;
        let lease = example(env, "lease", &[])?.wait(TIMEOUT)?.text()?;
        ensure!(lease.contains("granted 8081") && lease.contains(":8081"), "{lease}");
        Ok(())
    });
}

#[test]
fn service_is_discoverable_until_it_deregisters() {
    over_each_store(|env| {
        let _registry = env.registry()?;
        let mut service = example(env, "service", &[])?;
        service.wait_for_line(" at 127.0.0.1:8080")?;
        let mut watch = example(env, "watch", &["greeter-api"])?;
        watch.wait_for_line("1 instances")?;

        let found = example(env, "blocking", &["greeter-api"])?.wait(TIMEOUT)?.text()?;
        ensure!(found == "127.0.0.1:8080", "{found}");
        let explained = example(env, "discover", &["greeter-api"])?.wait(TIMEOUT)?.text()?;
        ensure!(explained.contains("127.0.0.1:8080"), "{explained}");

        service.signal(Signal::INT)?;
        watch.wait_for_line("deregistered 127.0.0.1:8080")?;
        service.wait(TIMEOUT)?.exits(0)?;
        watch.signal(Signal::INT)?;
        watch.wait(TIMEOUT)?.exits(0).map(drop)
    });
}

#[test]
fn program_outside_the_workspace_adds_a_strategy_and_a_check() {
    let program = build_embedded().unwrap();
    isolated(|env| {
        let mut command = Command::new(&program);
        command.current_dir(env.directory());
        let output = env.spawn("embedded", command)?.wait(TIMEOUT)?.text()?;
        let expected = [
            "billing is at 127.0.0.1:9400 (hosts: registered, local)",
            "is critical: the marker file is missing",
            "is passing: the marker file exists",
        ];
        let mut rest = output.as_str();
        for line in expected {
            rest = rest.split_once(line).with_context(|| format!("no {line:?} in {output}"))?.1;
        }
        Ok(())
    });
}

/// Builds `examples/embedded` by its own manifest and returns the program. It uses the dependencies
/// that the workspace has locked, and the target directory of the tests. The manifest is copied to
/// the target directory, because Cargo writes a lock file beside it.
fn build_embedded() -> Result<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    let target = portolan_tests::target_directory()?;
    let target = target.parent().context("no target directory")?;
    let embedded = target.join("embedded-example");
    fs::create_dir_all(&embedded)?;
    fs::copy(workspace.join("Cargo.lock"), embedded.join("Cargo.lock"))?;
    let manifest = fs::read_to_string(workspace.join("examples/embedded/Cargo.toml"))?;
    let library = workspace.join("crates/portolan").display().to_string();
    let manifest = manifest.replace("../../crates/portolan", &library);
    fs::write(embedded.join("Cargo.toml"), manifest)?;
    let source = embedded.join("src");
    if fs::symlink_metadata(&source).is_err() {
        symlink(workspace.join("examples/embedded/src"), source)?;
    }
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--offline", "--manifest-path"])
        .arg(embedded.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target)
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(target.join("debug/embedded"))
}
