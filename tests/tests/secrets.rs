//! Secrets reach only whom they are meant for, and answers of others do not count as those of who has the secret.

mod config_files;
mod local_registry;
mod output;
mod passing;
mod trust_levels;
mod variables;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use portolan_tests::{Process, TestEnv, servers};

/// A user that is neither this one nor root.
const OTHER: &str = "65534";
/// A token that no guess finds.
const TOKEN: &str = "e1c5e3b06fa24f8a9d0c";

/// A server of somebody else that answers every request with 404, and writes its head to a file.
struct Eavesdropper {
    heard: PathBuf,
    _server: Process,
}

const EAVESDROPPER: &str = r#"
import socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("listening", flush=True)
while True:
    connection, _ = server.accept()
    connection.settimeout(2)
    try:
        head = connection.recv(65536)
        open(sys.argv[3], "ab").write(head)
        connection.sendall(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    except OSError:
        pass
    connection.close()
"#;

// === impl Eavesdropper ===

impl Eavesdropper {
    /// Starts one, as another user if `user` is given.
    fn start(env: &TestEnv, port: u16, user: Option<&str>) -> Result<Self> {
        let script = env.write("eavesdropper.py", EAVESDROPPER)?;
        let heard = env.write(&format!("heard-{port}"), "")?;
        if let Some(user) = user {
            chown(&heard, user)?;
        }
        let mut command = match user {
            Some(user) => as_user(user),
            None => Command::new("env"),
        };
        command
            .args(servers::python(&[])?)
            .arg(script)
            .args(["127.0.0.1", &port.to_string()])
            .arg(&heard);
        let mut server = env.spawn("eavesdropper", command)?;
        server.wait_for_line("listening")?;
        Ok(Self { heard, _server: server })
    }

    /// Returns everything that it has received.
    fn heard(&self) -> Result<String> {
        std::fs::read_to_string(&self.heard).context("nothing was written")
    }
}

/// Returns a command that runs another one as this user.
fn as_user(user: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups", "--"]);
    command
}

/// Gives a file to another user, which only root can do.
fn chown(path: &Path, user: &str) -> Result<()> {
    let output = Command::new("chown").arg(format!("{user}:{user}")).arg(path).output()?;
    let problem = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "this test must run as root: {problem}");
    Ok(())
}
