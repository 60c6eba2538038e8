//! Runs a test in its own network and PID namespaces.
//!
//! The test executes itself again inside new namespaces, in which every port is free, multicast
//! stays inside, and every process ends with the test. If the system allows no namespaces, the
//! tests run one after the other instead, and fail with a clear error if a port is taken.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::env::TestEnv;
use crate::process::Process;

/// The environment variable that is set inside the namespaces.
const INSIDE: &str = "PORTOLAN_TEST_NAMESPACE";
/// The timeout of one test: several times the duration of the slowest.
const LIMIT: Duration = Duration::from_secs(240);

/// Runs the test in its own environment and prints every log if it fails.
///
/// # Panics
/// The test failed.
#[track_caller]
pub fn isolated(test: impl FnOnce(&TestEnv) -> Result<()>) {
    if let Err(error) = run(test) {
        panic!("{error:#}");
    }
}

fn run(test: impl FnOnce(&TestEnv) -> Result<()>) -> Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        return run_in_process(test, true);
    }
    match namespaces() {
        Some(flags) => rerun_in_namespaces(flags),
        None => {
            let _one_at_a_time = lock()?;
            run_in_process(test, false)
        }
    }
}

/// Runs the test in this process.
fn run_in_process(test: impl FnOnce(&TestEnv) -> Result<()>, alone: bool) -> Result<()> {
    let env = TestEnv::new(alone)?;
    let outcome = catch_unwind(AssertUnwindSafe(|| test(&env)));
    if !matches!(outcome, Ok(Ok(()))) {
        println!("{}", env.logs());
    }
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Runs the current test again, by its name, inside namespaces, and returns its result.
fn rerun_in_namespaces(flags: &[&str]) -> Result<()> {
    let thread = std::thread::current();
    let name = thread.name().filter(|name| *name != "main");
    let name = name.context("the test's thread is not named after the test")?;
    let logs = tempfile::tempdir()?;
    let mut command = Command::new("unshare");
    command
        .args(flags)
        // The shell stays as process 1 and reaps orphans.
        .args(["--", "sh", "-c", r#"ip link set lo up && "$@"; exit $?"#, "sh"])
        .arg(std::env::current_exe()?)
        .args([name, "--exact", "--nocapture", "--include-ignored"])
        .env(INSIDE, "1");
    let mut inside = Process::spawn("test", logs.path(), &mut command)?;
    let output = inside.wait(LIMIT)?;
    print!("{}{}", output.stdout, output.stderr);
    ensure!(output.code == Some(0), "the test failed; see what it printed");
    ensure!(output.stdout.contains("1 passed"), "there is no test {name:?}");
    Ok(())
}

/// Returns the flags of `unshare` that work on this system, determined once.
fn namespaces() -> Option<&'static [&'static str]> {
    const SUPERUSER: &[&str] = &["--net", "--pid", "--fork", "--kill-child", "--mount-proc"];
    const UNPRIVILEGED: &[&str] = &[
        "--user",
        "--map-current-user",
        "--keep-caps",
        "--net",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ];
    static WORKING: OnceLock<Option<&[&str]>> = OnceLock::new();
    *WORKING
        .get_or_init(|| [SUPERUSER, UNPRIVILEGED].into_iter().find(|flags| unshare_works(flags)))
}

fn unshare_works(flags: &[&str]) -> bool {
    let mut probe = Command::new("unshare");
    probe.args(flags).args(["--", "ip", "link", "set", "lo", "up"]);
    let status = probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Locks out other tests of this user that run without namespaces.
fn lock() -> Result<File> {
    let user = rustix::process::getuid().as_raw();
    let path = std::env::temp_dir().join(format!("portolan-tests-{user}.lock"));
    let file = File::create(&path).with_context(|| path.display().to_string())?;
    match file.lock() {
        Ok(()) => Ok(file),
        Err(error) => bail!("cannot lock {}: {error}", path.display()),
    }
}
