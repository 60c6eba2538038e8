//! Processes of the same user: secrets in memory, and locks.

use anyhow::ensure;
use portolan_tests::{REGISTRY, TIMEOUT, http, isolated, servers};

use super::{ALICE, User};

const READ: &str = "
import sys
for name in ['environ', 'mem', 'maps']:
    try:
        open('/proc/%s/%s' % (sys.argv[1], name), 'rb').read(1)
        print('read', name)
    except PermissionError: print('denied', name)
";

#[test]
fn memory_of_the_registry_is_closed_to_other_programs_of_its_user() {
    isolated(|env| {
        let alice = User::new(env, ALICE)?;
        let token = "a-token-of-thirty-two-characters";
        let serve = alice.portolan_with(&[("PORTOLAN_TOKEN", token)], &["serve"])?;
        let mut registry = env.spawn("registry", serve)?;
        registry
            .wait_until("the registry to be ready", || http::get(&format!("{REGISTRY}/readyz")))?;
        let processes = env.processes()?;
        let (id, _) = processes
            .iter()
            .find(|(_, line)| line.ends_with("programs/portolan serve"))
            .expect("the server runs");
        let words = servers::python(&["-c", READ, &id.to_string()])?;
        let output = env.spawn("reader", alice.command(&[], &words))?.wait(TIMEOUT)?.exits(0)?;
        ensure!(!output.stdout.contains("read"), "{output:?}");
        // It serves as before, and its lease is in the table.
        let listed = env.spawn("list", alice.portolan(&["ports", "list"])?)?.wait(TIMEOUT)?;
        ensure!(listed.stdout.contains("portolan-registry"), "{listed:?}");
        Ok(())
    });
}

const LOCK: &str = "
import fcntl, glob, os, struct, sys, time
table = open(glob.glob(sys.argv[1] + '/ports-*.table')[0], 'r+b')
fcntl.fcntl(table, 37, struct.pack('hhqqi4x', fcntl.F_WRLCK, os.SEEK_SET, 1 << 40, 1, 0))
print('locked', os.getpid(), flush=True)
time.sleep(1000)
";

#[test]
fn process_that_locks_the_table_for_long_is_named() {
    isolated(|env| {
        let alice = User::new(env, ALICE)?;
        let alloc = ["ports", "alloc", "web", "--owner", "1"];
        env.spawn("alloc", alice.portolan(&alloc)?)?.wait(TIMEOUT)?.exits(0)?;
        let directory = alice.home.join(".local/state/portolan/run").display().to_string();
        let words = servers::python(&["-c", LOCK, &directory])?;
        let mut locker = env.spawn("locker", alice.command(&[], &words))?;
        let line = locker.wait_for_line("locked ")?;
        let id = line.trim_start_matches("locked ");
        let failed = env.spawn("alloc", alice.portolan(&alloc)?)?.wait(TIMEOUT)?.exits(1)?;
        ensure!(failed.stderr.contains(&format!("process {id} (")), "{failed:?}");
        Ok(())
    });
}
