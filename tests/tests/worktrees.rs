//! Several working copies of a project at the same time: no port conflicts, the same ports each time, and no file edited.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use portolan_tests::{Process, TIMEOUT, TestEnv, frameworks, http, isolated, wait_for};
use rustix::process::Signal;
use serde_json::Value;

/// The number of worktrees of the lighter stack: more than the pool of databases has ports. `benches/worktrees.py` has more of them.
const MANY: usize = 12;

/// Like the example, with servers that only listen.
const LIGHT: &str = "\
services:
  postgres: {command: perl serve.pl, port: 5432, bind: loopback}
  migrate: {command: touch migrated, port: none, needs: [postgres]}
  api: {command: perl serve.pl, port: 8080, bind: loopback, needs: {postgres: ready, migrate: completed}}
  web: {command: perl serve.pl, port: 5173, bind: loopback, needs: [api]}
";
/// Listens on `PORT`.
pub(crate) const SERVE: &str = "\
use IO::Socket::INET;
my $socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $ENV{PORT}, Listen => 16, ReuseAddr => 1) or die $@;
while (my $client = $socket->accept) { close $client }
";

fn git(directory: &Path, arguments: &[&str]) -> Result<String> {
    let identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"];
    let mut git = Command::new("git");
    git.args(identity).args(arguments).current_dir(directory);
    let output = git.env("GIT_CONFIG_GLOBAL", "/dev/null").output().context("cannot start git")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "git {arguments:?}: {error}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Commits the directory, and returns it with further worktrees of it.
fn worktrees(project: &Path, count: usize) -> Result<Vec<PathBuf>> {
    git(project, &["init", "--quiet", "--initial-branch", "main"])?;
    git(project, &["add", "."])?;
    git(project, &["commit", "--quiet", "--message", "all"])?;
    let mut all = vec![project.to_owned()];
    for number in 1..count {
        let other = project.with_file_name(format!("feature-{number}"));
        let path = other.to_str().context("not text")?;
        git(project, &["worktree", "add", "--quiet", "--detach", path])?;
        all.push(other);
    }
    Ok(all)
}

fn ensure_unchanged(worktrees: &[PathBuf]) -> Result<()> {
    worktrees.iter().try_for_each(|directory| {
        let changes = git(directory, &["status", "--porcelain"])?;
        ensure!(changes.is_empty(), "{}: {changes}", directory.display());
        Ok(())
    })
}

/// Starts the example in a worktree, and waits until its last service is found.
fn start_example(env: &TestEnv, directory: &Path) -> Result<(Process, BTreeMap<String, u16>)> {
    let up = env.portolan(&["up"])?.directory(directory);
    let mut up = up.env("PYTHONPATH", &frameworks::python_module("pg8000")?).spawn("up")?;
    let ports = up.wait_until("the services", || {
        let ports = ["postgres", "api", "web"].map(|name| {
            let found = env.portolan(&["discover", name, "--json"])?.directory(directory);
            let found = found.run()?.json()?;
            let port = found["port"].as_u64().context("no port")?;
            Ok((name.to_owned(), u16::try_from(port)?))
        });
        ports.into_iter().collect::<Result<BTreeMap<_, _>>>()
    })?;
    Ok((up, ports))
}

/// Has the worker of this worktree do a job, through its web server and its API.
fn do_job(up: &mut Process, web: u16, text: &str) -> Result<()> {
    let jobs = format!("http://127.0.0.1:{web}/api/jobs");
    let page = http::get(&format!("http://127.0.0.1:{web}/"))?;
    ensure!(page.contains("<title>Jobs</title>"), "{page}");
    http::client()?.post(&jobs).body(text.to_owned()).send()?.error_for_status()?;
    up.wait_until("the job", || {
        let found: Value = serde_json::from_str(&http::get(&jobs)?)?;
        let found = found.as_array().context("no list")?;
        ensure!(found.iter().all(|job| job["text"] == text), "another worktree's: {found:?}");
        ensure!(found.iter().any(|job| job["result"] == text.to_uppercase().as_str()), "{found:?}");
        Ok(())
    })
}

#[test]
fn example_runs_in_two_worktrees_side_by_side() {
    isolated(|env| {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/worktrees");
        let project = env.directory().join("shop");
        let copied = Command::new("cp").arg("-r").arg(example).arg(&project).status()?;
        ensure!(copied.success());
        let both = worktrees(&project, 2)?;
        for directory in &both {
            for part in ["web", "worker"] {
                symlink(frameworks::node_modules()?, directory.join(part).join("node_modules"))?;
            }
        }
        let (mut main, main_ports) = start_example(env, &both[0])?;
        let (mut feature, feature_ports) = start_example(env, &both[1])?;
        let all: BTreeSet<u16> =
            main_ports.values().chain(feature_ports.values()).copied().collect();
        ensure!(all.len() == 6, "{main_ports:?} {feature_ports:?}");
        do_job(&mut main, main_ports["web"], "of main")?;
        do_job(&mut feature, feature_ports["web"], "of the feature")?;
        main.terminate()?.exits(0)?;
        feature.terminate()?.exits(0)?;

        let (mut feature, again) = start_example(env, &both[1])?;
        ensure!(again == feature_ports, "{again:?} {feature_ports:?}");
        let (mut main, again) = start_example(env, &both[0])?;
        ensure!(again == main_ports, "{again:?} {main_ports:?}");
        do_job(&mut main, main_ports["web"], "of main")?;
        do_job(&mut feature, feature_ports["web"], "of the feature")?;
        main.terminate()?.exits(0)?;
        feature.terminate()?.exits(0)?;
        ensure_unchanged(&both)
    });
}

/// The ports of the services that are healthy, from what `up` has printed.
fn healthy_ports(up: &Process) -> Result<BTreeMap<String, u16>> {
    let mut ports = BTreeMap::new();
    for line in up.stdout().lines() {
        if let Some((name, text)) = line.split_once(" * ")
            && let Some((port, _)) = text.split_once(", passing")
            && let Some((_, port)) = port.rsplit_once(" on port ")
        {
            ports.insert(name.trim().to_owned(), port.parse()?);
        }
    }
    ensure!(ports.len() == 3, "{ports:?}");
    Ok(ports)
}

/// Starts the stack in these worktrees, and returns the ports of each when all run.
fn run_all<'a>(
    env: &TestEnv,
    directories: impl Iterator<Item = &'a PathBuf>,
) -> Result<BTreeMap<PathBuf, BTreeMap<String, u16>>> {
    let (mut started, mut ports) = (Vec::new(), BTreeMap::new());
    for directory in directories {
        let mut up = env.portolan(&["up"])?.directory(directory).spawn("up")?;
        up.wait_for_line("web          * pid")?;
        ports.insert(directory.clone(), wait_for("healthy services", || healthy_ports(&up))?);
        started.push((directory, up));
    }
    for (_, up) in &started {
        up.signal(Signal::TERM)?;
    }
    for (_, mut up) in started {
        up.wait(TIMEOUT)?.exits(0)?;
    }
    Ok(ports)
}

#[test]
fn many_worktrees_have_the_same_ports_in_any_order() {
    isolated(|env| {
        let project = env.folder("shop")?;
        env.write("shop/portolan.yaml", LIGHT)?;
        env.write("shop/serve.pl", SERVE)?;
        env.write("shop/.gitignore", "migrated\n")?;
        let all = worktrees(&project, MANY)?;
        let first = run_all(env, all.iter())?;
        let different: BTreeSet<u16> = first.values().flat_map(BTreeMap::values).copied().collect();
        ensure!(different.len() == 3 * MANY, "{first:?}");
        let again = run_all(env, all.iter().rev())?;
        ensure!(again == first, "{first:?}\n{again:?}");
        ensure_unchanged(&all)
    });
}
