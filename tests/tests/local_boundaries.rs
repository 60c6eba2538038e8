//! Boundaries on one host: what a child without privileges and another user can do, one test a method
//! ([docs/local-boundaries.md](../../docs/local-boundaries.md)).

mod children;
mod directories;
mod guesses;
mod listeners;
mod processes;

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use portolan_tests::{Process, TestEnv, portolan_program, servers};

const NAME: &str = "api";
const PORT: u16 = 8080;

/// Two users without an entry in `/etc/passwd`, and the ids of a program that dropped its privileges.
const ALICE: u32 = 1001;
const BOB: u32 = 1002;
const NOBODY: u32 = 65534;

/// A user of the test with a home directory and a copy of the program that this user can execute.
struct User<'a> {
    env: &'a TestEnv,
    uid: u32,
    home: PathBuf,
}

impl<'a> User<'a> {
    fn new(env: &'a TestEnv, uid: u32) -> Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "this test becomes several users; run the tests as root"
        );
        let home = env.folder(&format!("home-{uid}"))?;
        chown(&home, Some(uid), Some(uid))?;
        std::fs::set_permissions(&home, PermissionsExt::from_mode(0o755))?;
        Ok(Self { env, uid, home })
    }

    /// A command of this user with no other variables than these.
    fn command(&self, variables: &[(&str, &str)], words: &[String]) -> Command {
        let mut command = dropping(self.uid);
        // The variables of the test name directories of root.
        command.arg("env").args(["-u", "XDG_RUNTIME_DIR", "-u", "XDG_STATE_HOME"]);
        command.arg(format!("HOME={}", self.home.display()));
        command.args(variables.iter().map(|(name, value)| format!("{name}={value}")));
        command.args(words);
        command
    }

    /// A `portolan` command of this user.
    fn portolan(&self, arguments: &[&str]) -> Result<Command> {
        self.portolan_with(&[], arguments)
    }

    fn portolan_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Result<Command> {
        let words = std::iter::once(accessible_program(self.env)?);
        let words: Vec<String> =
            words.chain(arguments.iter().copied().map(str::to_owned)).collect();
        let mut command = self.command(variables, &words);
        command.current_dir(&self.home);
        Ok(command)
    }

    /// Starts a listener with `SO_REUSEADDR`, which needs no right, beside any guard.
    fn thief(&self, address: &str, port: u16) -> Result<Process> {
        let words = servers::python(&["-c", THIEF, address, &port.to_string()])?;
        let mut thief = self.env.spawn("thief", self.command(&[], &words))?;
        thief.wait_for_line("stolen")?;
        Ok(thief)
    }
}

const THIEF: &str = "
import socket, sys
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind((sys.argv[1], int(sys.argv[2])))
server.listen()
print('stolen', flush=True)
while True:
    client = server.accept()[0]
    client.recv(4096)
    client.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nthief')
    client.close()
";

/// The beginning of a command without the privileges of root.
fn dropping(uid: u32) -> Command {
    let mut command = Command::new("setpriv");
    command.args(dropping_words(uid).into_iter().skip(1));
    command
}

fn dropping_words(uid: u32) -> Vec<String> {
    let ids = [format!("--reuid={uid}"), format!("--regid={uid}")];
    let rest = ["--clear-groups", "--no-new-privs", "--"].map(str::to_owned);
    ["setpriv".to_owned()].into_iter().chain(ids).chain(rest).collect()
}

/// The program where every user can execute it: the target directory may be in a private one.
fn accessible_program(env: &TestEnv) -> Result<String> {
    accessible(env, &portolan_program()?.display().to_string(), "portolan")
}

fn accessible(env: &TestEnv, program: &str, name: &str) -> Result<String> {
    let copy = env.folder("programs")?.join(name);
    if !copy.exists() {
        std::fs::hard_link(program, &copy).or_else(|_| std::fs::copy(program, &copy).map(drop))?;
    }
    Ok(copy.to_str().context("a path that is not text")?.to_owned())
}

/// A listener that binds late, as a program without the privileges of root.
fn unprivileged_server(env: &TestEnv) -> Result<Vec<String>> {
    let server = accessible(env, env!("CARGO_BIN_EXE_late-binder"), "late-binder")?;
    Ok([dropping_words(NOBODY), vec![server, "{port}".to_owned()]].concat())
}

/// Returns the port that is granted to another service with the same preference.
fn granted_port(env: &TestEnv) -> Result<u64> {
    let alloc = ["ports", "alloc", "other", "--preferred", "8080", "--pool", "api", "--json"];
    let lease = env.portolan(&alloc)?.args(&["--owner", "1"]).run()?.json()?;
    lease["port"].as_u64().context("no port")
}
