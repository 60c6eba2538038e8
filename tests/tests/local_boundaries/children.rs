//! A child that dropped its privileges attacks the reservations by what it inherited.

use anyhow::{Result, ensure};
use portolan_tests::{Process, TestEnv, isolated, servers};
use rustix::process::{Pid, Signal, kill_process};

use super::{NAME, NOBODY, PORT, dropping_words, granted_port};

/// What each attack begins with: the descriptors of regular files, which are those of Portolan.
const FILES: &str = "
import errno, fcntl, os, stat, struct, sys, time
def is_file(fd):
    try: return stat.S_ISREG(os.fstat(fd).st_mode)
    except OSError: return False
files = [fd for fd in range(3, 256) if is_file(fd)]
def attempt(what, *arguments):
    try: return what(*arguments)
    except OSError as error: print('refused', errno.errorcode[error.errno], flush=True)
def lock(fd, kind, start=0, length=0):
    F_OFD_SETLK = 37
    fcntl.fcntl(fd, F_OFD_SETLK, struct.pack('hhqqi4x', kind, os.SEEK_SET, start, length, 0))
";
/// Waits until the test ends it.
const DONE: &str = "
print('attacked', len(files), flush=True)
time.sleep(1000)
";

/// Starts a service with the privileges of root whose program has dropped them and attacks at once.
fn attack(env: &TestEnv, handoff: &str, attack: &str) -> Result<Process> {
    let script = format!("{FILES}{attack}{DONE}");
    let program = [dropping_words(NOBODY), servers::python(&["-c", &script])?].concat();
    let options = ["--handoff", handoff, "--health", "none", "-v"];
    let mut run = env.service(NAME, &options, &program)?;
    let line = run.wait_for_line("attacked")?;
    ensure!(line == "attacked 1", "it inherited other files than its share: {line}");
    Ok(run)
}

/// The leases as the privileged user sees them.
fn leases(env: &TestEnv) -> Result<Vec<String>> {
    let listed = env.portolan(&["ports", "list", "--json"])?.run()?.json()?;
    let leases = listed["ports"].as_array().into_iter().flatten();
    Ok(leases.map(|it| format!("{} {}", it["service"], it["port"])).collect())
}

fn is_unharmed(env: &TestEnv) -> Result<()> {
    let leases = leases(env)?;
    ensure!(leases == [format!("\"{NAME}\" {PORT}")], "{leases:?}");
    let granted = granted_port(env)?;
    ensure!(granted == u64::from(PORT) + 1, "granted {granted}");
    Ok(())
}

#[test]
fn child_cannot_forge_the_record_of_a_registry() {
    isolated(|env| {
        let forge = "
for fd in files:
    path = '/proc/self/fd/%d' % fd
    for write in [lambda: os.pwrite(fd, b'portolan-registry', 0), lambda: os.open(path, os.O_RDWR)]:
        if attempt(write) is not None: print('forged', flush=True)
    contents = attempt(os.pread, fd, 1 << 20, 0)
    if contents: print('read', len(contents), flush=True)
";
        let run = attack(env, "claim", forge)?;
        let output = run.stdout();
        ensure!(!output.contains("forged") && !output.contains("read"), "{output}");
        is_unharmed(env)
    });
}

#[test]
fn child_cannot_end_the_session_of_its_supervisor() {
    isolated(|env| {
        let unlock = "
for fd in files: attempt(lock, fd, fcntl.F_UNLCK)
";
        let _run = attack(env, "claim", unlock)?;
        is_unharmed(env)
    });
}

#[test]
fn child_cannot_truncate_the_table() {
    isolated(|env| {
        let truncate = "
for fd in files:
    attempt(os.ftruncate, fd, 0)
    attempt(os.fchmod, fd, 0o666)
";
        let run = attack(env, "claim", truncate)?;
        ensure!(run.stdout().contains("refused"), "{}", run.stdout());
        is_unharmed(env)
    });
}

#[test]
fn child_cannot_lock_others_out() {
    isolated(|env| {
        // Shared locks too: on the table they would have kept the sessions of others, and every new one, away.
        let lock = "
for fd in files:
    attempt(lock, fd, fcntl.F_WRLCK)
    attempt(lock, fd, fcntl.F_RDLCK)
    attempt(fcntl.flock, fd, fcntl.LOCK_EX)
    attempt(fcntl.fcntl, fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
";
        let _run = attack(env, "claim", lock)?;
        is_unharmed(env)
    });
}

#[test]
fn child_cannot_end_the_lease_of_its_sibling() {
    isolated(|env| {
        let fork = "
sibling = os.fork()
if sibling == 0:
    time.sleep(1000)
for fd in files:
    attempt(lock, fd, fcntl.F_UNLCK)
    os.close(fd)
print('sibling', sibling, flush=True)
";
        let mut run = attack(env, "claim", fork)?;
        is_unharmed(env)?;
        // The share of the program is its own to give up, also for what it has started.
        run.kill()?;
        ensure!(granted_port(env)? == u64::from(PORT));
        Ok(())
    });
}

#[test]
fn child_without_privileges_keeps_its_lease_after_run_is_killed() {
    isolated(|env| {
        let mut run = attack(env, "claim", "print('own', os.getpid(), flush=True)")?;
        let line = run.wait_for_line("own ")?;
        let program: i32 = line.trim_start_matches("own ").parse()?;
        env.stop_shims()?;
        run.kill()?;
        ensure!(granted_port(env)? != u64::from(PORT), "the port of a living program was granted");
        kill_process(Pid::from_raw(program).expect("a process id"), Signal::KILL)?;
        portolan_tests::wait_for("the end of the program", || {
            ensure!(!env.processes()?.iter().any(|(id, _)| i32::try_from(*id) == Ok(program)));
            Ok(())
        })?;
        // Without a wait: the kernel releases the lock when the process ends.
        ensure!(granted_port(env)? == u64::from(PORT));
        Ok(())
    });
}
