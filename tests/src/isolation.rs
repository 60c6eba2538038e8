//! Gives a test a network and a process tree of its own.
//!
//! The test calls itself again inside new namespaces, where every port is free, multicast reaches
//! nobody else, and whatever it leaves behind ends with it. Where the system allows no namespaces
//! the tests run one after the other instead, and fail clearly where somebody holds their ports.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::env::TestEnv;
use crate::process::Process;

/// Set inside the namespaces.
const INSIDE: &str = "PORTOLAN_TEST_NAMESPACE";
/// How long one test may take before it counts as hung: several times what the slowest takes.
const LIMIT: Duration = Duration::from_secs(240);

/// Runs the test in a env of its own; shows every log where it fails.
///
/// # Panics
/// The test failed.
#[track_caller]
pub fn isolated(test: impl FnOnce(&TestEnv) -> Result<()>) {
    if let Err(error) = enter(test) {
        panic!("{error:#}");
    }
}

fn enter(test: impl FnOnce(&TestEnv) -> Result<()>) -> Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        return here(test, true);
    }
    match namespaces() {
        Some(flags) => again_within(flags),
        None => {
            let _one_at_a_time = lock()?;
            here(test, false)
        }
    }
}

/// Runs the test in this process.
fn here(test: impl FnOnce(&TestEnv) -> Result<()>, alone: bool) -> Result<()> {
    let env = TestEnv::new(alone)?;
    let outcome = catch_unwind(AssertUnwindSafe(|| test(&env)));
    if !matches!(outcome, Ok(Ok(()))) {
        println!("{}", env.logs());
    }
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Runs this very test again, by its name, within namespaces, and passes its outcome on.
fn again_within(flags: &[&str]) -> Result<()> {
    let thread = std::thread::current();
    let name = thread.name().filter(|name| *name != "main");
    let name = name.context("the test's thread does not bear the test's name")?;
    let logs = tempfile::tempdir()?;
    let mut command = Command::new("unshare");
    command
        .args(flags)
        // The shell stays as process 1, which collects what is left behind.
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

/// The flags of `unshare` that work here; found out once.
fn namespaces() -> Option<&'static [&'static str]> {
    const SUPERUSER: &[&str] = &["--net", "--pid", "--fork", "--kill-child", "--mount-proc"];
    const ANYBODY: &[&str] = &[
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
    *WORKING.get_or_init(|| [SUPERUSER, ANYBODY].into_iter().find(|flags| work(flags)))
}

fn work(flags: &[&str]) -> bool {
    let mut probe = Command::new("unshare");
    probe.args(flags).args(["--", "ip", "link", "set", "lo", "up"]);
    let status = probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Waits until no other test of this user runs without namespaces.
fn lock() -> Result<File> {
    let user = rustix::process::getuid().as_raw();
    let path = std::env::temp_dir().join(format!("portolan-tests-{user}.lock"));
    let file = File::create(&path).with_context(|| path.display().to_string())?;
    match file.lock() {
        Ok(()) => Ok(file),
        Err(error) => bail!("cannot lock {}: {error}", path.display()),
    }
}
