//! Starts the stack's own PostgreSQL: creates a cluster on the first start, then executes the
//! server on the port in `PORT`.
//!
//! PostgreSQL refuses to run as root; root starts it under the account of Debian's package.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use portolan_example_helixcode::process::own_port;

/// The account of Debian's package, and the superuser of the cluster.
const ACCOUNT: &str = "postgres";

fn main() -> Result<()> {
    let data = std::env::args().nth(1).context("usage: helixcode-postgres DIRECTORY")?;
    let port = own_port()?.to_string();
    let programs = programs()?;
    let data = make_cluster(&programs, Path::new(&data))?;
    let settings = ["listen_addresses=127.0.0.1", "unix_socket_directories="];
    let error = as_account(&programs.join("postgres"))
        .arg("-D")
        .arg(&data)
        .args(["-p", &port])
        .args(settings.iter().flat_map(|setting| ["-c", setting]))
        .exec();
    Err(error).context("cannot start PostgreSQL")
}

/// Returns the directory of the newest PostgreSQL's programs, as Debian installs them.
fn programs() -> Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let numbers = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let newest = numbers.max().context(
        "PostgreSQL is missing; `apt-get install --no-install-recommends postgresql` installs it",
    )?;
    Ok(format!("/usr/lib/postgresql/{newest}/bin").into())
}

/// Creates the cluster if it does not exist; connections from loopback are trusted.
fn make_cluster(programs: &Path, data: &Path) -> Result<PathBuf> {
    fs::create_dir_all(data).with_context(|| format!("cannot create {}", data.display()))?;
    let data = data.canonicalize()?;
    if data.join("PG_VERSION").is_file() {
        return Ok(data);
    }
    if is_root() {
        let status = Command::new("chown").arg(ACCOUNT).arg(&data).status()?;
        ensure!(status.success(), "cannot change the owner of {} to {ACCOUNT}", data.display());
    }
    let status = as_account(&programs.join("initdb"))
        .args(["--auth=trust", "--username", ACCOUNT, "--encoding=UTF8", "--no-locale"])
        .args(["--no-instructions", "--pgdata"])
        .arg(&data)
        .status()?;
    ensure!(
        status.success(),
        "initdb failed ({status}); if the account {ACCOUNT} cannot access {}, start the stack in a \
         directory that every account can access",
        data.display()
    );
    Ok(data)
}

fn as_account(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", ACCOUNT, "--regid", ACCOUNT, "--clear-groups", "--"]).arg(program);
    command
}

fn is_root() -> bool {
    Path::new("/proc/self").metadata().is_ok_and(|process| process.uid() == 0)
}
