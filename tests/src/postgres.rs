//! Real PostgreSQL servers.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::env::{TestEnv, target_directory};
use crate::process::Process;
use crate::programs;

/// The account that runs PostgreSQL if the tests run as root, which PostgreSQL refuses.
const ACCOUNT: &str = "postgres";

/// An initialised cluster with its own data directory. Connections from loopback are trusted, as
/// the superuser `postgres`.
#[derive(Debug)]
pub struct Postgres {
    data: PathBuf,
    server: PathBuf,
}

// === impl Postgres ===

impl Postgres {
    /// Creates a cluster in the directory `name` of the test environment.
    ///
    /// # Errors
    /// PostgreSQL is not installed, or cannot create the cluster.
    pub fn prepare(env: &TestEnv, name: &str) -> Result<Self> {
        let server = programs::find_postgres("postgres")?;
        let data = env.directory().join(name);
        copy(&template()?, &data)?;
        Ok(Self { data, server })
    }

    /// Creates a cluster of its own, whose system identifier differs from that of [`Self::prepare`].
    ///
    /// # Errors
    /// PostgreSQL is not installed, or cannot create the cluster.
    pub fn prepare_another(env: &TestEnv, name: &str) -> Result<Self> {
        let server = programs::find_postgres("postgres")?;
        let data = env.directory().join(name);
        make_template(&programs::find_postgres("initdb")?, &data)?;
        give_to_account(&data)?;
        Ok(Self { data, server })
    }

    /// Creates a standby of the server on a port of this host, which follows it from now on.
    ///
    /// # Errors
    /// PostgreSQL is not installed, or the server cannot be copied.
    pub fn prepare_standby(env: &TestEnv, name: &str, primary: u16) -> Result<Self> {
        let server = programs::find_postgres("postgres")?;
        let data = env.folder(name)?;
        give_to_account(&data)?;
        run(Command::new("chmod").arg("go-rwx").arg(&data))?;
        let words = as_account();
        let mut copy = Command::new("env");
        copy.args(words).arg(programs::find_postgres("pg_basebackup")?);
        copy.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--pgdata"]);
        copy.arg(&data).args(["--host=127.0.0.1", "--username", ACCOUNT]);
        run(copy.arg(format!("--port={primary}")).current_dir("/"))?;
        Ok(Self { data, server })
    }

    /// Kills the server, so that it ends without a shutdown.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&self) -> Result<()> {
        let file = self.data.join("postmaster.pid");
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let id = text.lines().next().and_then(|line| line.parse().ok());
        let id = id.and_then(Pid::from_raw).context("no process id")?;
        Ok(kill_process(id, Signal::KILL)?)
    }

    /// Whether a process of the server still runs: its sessions end a moment after it was killed.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn is_running(&self) -> Result<bool> {
        let processes = fs::read_dir("/proc")?.flatten();
        let mut directories =
            processes.filter_map(|one| fs::read_link(one.path().join("cwd")).ok());
        Ok(directories.any(|directory| directory == self.data))
    }

    /// Returns the data directory, which identifies the server.
    pub fn data_directory(&self) -> &Path {
        &self.data
    }

    /// Returns the command that starts the server on a port. The port may be a placeholder such as
    /// `{port}`.
    pub fn command(&self, port: &str) -> Vec<String> {
        let mut words = as_account();
        words.push(self.server.display().to_string());
        words.extend(["-D".into(), self.data.display().to_string()]);
        words.extend(["-p".into(), port.to_owned()]);
        for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"] {
            words.extend(["-c".into(), setting.to_owned()]);
        }
        words
    }

    /// Starts the server on a port and waits until it responds.
    ///
    /// # Errors
    /// The server ends or does not respond.
    pub fn start(&self, env: &TestEnv, port: u16) -> Result<Process> {
        let words = self.command(&port.to_string());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        let mut server = env.spawn("postgres", command)?;
        server.wait_until("PostgreSQL to answer", || psql("127.0.0.1", port, "select 1"))?;
        Ok(server)
    }
}

/// Returns the result of a query, without headings.
///
/// # Errors
/// psql is not installed or fails; the error contains its output.
pub fn psql(host: &str, port: u16, query: &str) -> Result<String> {
    let output = Command::new(programs::find("psql", "postgresql-client")?)
        .args(["--no-psqlrc", "--no-password", "--tuples-only", "--no-align"])
        .args(["--host", host, "--port", &port.to_string(), "--username", ACCOUNT])
        .args(["--command", query, "postgres"])
        .env("PGCONNECT_TIMEOUT", "5")
        .output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "psql, {}: {}", output.status, error.trim_end());
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// Returns the data directory of the PostgreSQL at this address.
///
/// # Errors
/// No PostgreSQL responds.
pub fn data_directory_at(host: &str, port: u16) -> Result<PathBuf> {
    Ok(psql(host, port, "show data_directory")?.into())
}

/// Returns a template cluster, created once for each version of PostgreSQL and cached in the
/// target directory: copying is much faster than `initdb`.
fn template() -> Result<PathBuf> {
    let initdb = programs::find_postgres("initdb")?;
    let version = initdb.iter().rev().nth(2).context("unexpected path of initdb")?;
    let version = version.to_string_lossy();
    let cache = target_directory()?.join("portolan-tests");
    fs::create_dir_all(&cache)?;
    let template = cache.join(format!("postgres-{version}"));
    let lock = File::create(cache.join(format!("postgres-{version}.lock")))?;
    lock.lock()?;
    if !template.is_dir() {
        make_template(&initdb, &template)?;
    }
    Ok(template)
}

/// Creates the cluster in a directory that the account may write, and renames it when complete.
fn make_template(initdb: &Path, template: &Path) -> Result<()> {
    let staging = tempfile::tempdir()?;
    give_to_account(staging.path())?;
    let data = staging.path().join("data");
    let words = as_account();
    let output = Command::new("env")
        .args(words)
        .arg(initdb)
        .args(["--no-sync", "--auth=trust", "--username", ACCOUNT, "--no-locale"])
        .args(["--encoding=UTF8", "--pgdata"])
        .arg(&data)
        .current_dir(staging.path())
        .output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "initdb, {}: {stderr}", output.status);
    let partial = template.with_extension("partial");
    let _ = fs::remove_dir_all(&partial);
    run(Command::new("cp").arg("-R").arg(&data).arg(&partial))?;
    fs::rename(&partial, template)?;
    Ok(())
}

fn copy(template: &Path, data: &Path) -> Result<()> {
    run(Command::new("cp").arg("-R").arg(template).arg(data))?;
    // PostgreSQL refuses a data directory that others may read.
    run(Command::new("chmod").args(["-R", "go-rwx"]).arg(data))?;
    give_to_account(data)
}

fn give_to_account(path: &Path) -> Result<()> {
    if is_root() { run(Command::new("chown").args(["-R", ACCOUNT]).arg(path)) } else { Ok(()) }
}

/// Returns the prefix that runs a command as PostgreSQL's account; empty if it is not needed.
fn as_account() -> Vec<String> {
    let words = ["setpriv", "--reuid", ACCOUNT, "--regid", ACCOUNT, "--clear-groups", "--"];
    if is_root() { words.map(str::to_owned).to_vec() } else { vec![] }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}, {}: {error}", output.status);
    Ok(())
}
