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
use crate::store::Store;

/// The environment variable that is set inside the namespaces.
const INSIDE: &str = "PORTOLAN_TEST_NAMESPACE";
/// The environment variable that names the store inside the namespaces.
const STORE: &str = "PORTOLAN_TEST_STORE";
/// The timeout of one test: several times the duration of the slowest.
const LIMIT: Duration = Duration::from_secs(240);

/// Runs the test in its own environment and prints every log if it fails.
///
/// # Panics
/// The test failed.
#[track_caller]
pub fn isolated(test: impl FnOnce(&TestEnv) -> Result<()>) {
    if let Err(error) = run(Store::Memory, test) {
        panic!("{error:#}");
    }
}

/// Runs the test once over each store that is built in, each time in its own environment. Every registry that the
/// test starts, by `serve` or by `up`, is over that store.
///
/// # Panics
/// The test failed.
#[track_caller]
pub fn over_each_store(test: impl Fn(&TestEnv) -> Result<()>) {
    for store in stores() {
        if let Err(error) = run(*store, &test) {
            panic!("over {}: {error:#}", store.name());
        }
    }
}

/// The stores of this run: inside the namespaces the one that was chosen outside.
fn stores() -> &'static [Store] {
    let chosen = std::env::var(STORE).ok();
    let chosen = chosen.and_then(|name| Store::ALL.iter().position(|store| store.name() == name));
    chosen.map_or(Store::ALL, |index| &Store::ALL[index..=index])
}

fn run(store: Store, test: impl FnOnce(&TestEnv) -> Result<()>) -> Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        return run_in_process(store, test, true);
    }
    match namespaces() {
        Some(flags) => rerun_in_namespaces(store, flags),
        None => {
            let _one_at_a_time = lock()?;
            run_in_process(store, test, false)
        }
    }
}

/// Runs the test in this process.
fn run_in_process(
    store: Store,
    test: impl FnOnce(&TestEnv) -> Result<()>,
    alone: bool,
) -> Result<()> {
    let mut env = TestEnv::new(alone)?;
    let begun = store.begin(&mut env);
    let outcome = catch_unwind(AssertUnwindSafe(|| begun.and_then(|()| test(&env))));
    if !matches!(outcome, Ok(Ok(()))) {
        println!("{}", env.logs());
    }
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Runs the current test again, by its name, inside namespaces, and returns its result.
fn rerun_in_namespaces(store: Store, flags: &[&str]) -> Result<()> {
    let thread = std::thread::current();
    let name = thread.name().filter(|name| *name != "main");
    let name = name.context("the test's thread is not named after the test")?;
    let logs = tempfile::tempdir()?;
    let mut command = Command::new("unshare");
    command
        .args(flags)
        // The shell stays as process 1 and reaps orphans. It ignores the signals that its caller ignores, as in the background.
        .args([
            "--",
            "sh",
            "-c",
            r#"ip link set lo up && env --default-signal "$@"; exit $?"#,
            "sh",
        ])
        .arg(std::env::current_exe()?)
        .args([name, "--exact", "--nocapture", "--include-ignored"])
        .env(INSIDE, "1")
        .env(STORE, store.name());
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
