//! Real Redis servers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::env::TestEnv;
use crate::process::Process;
use crate::programs;

/// Returns the command of a Redis without persistence. The port may be a placeholder such as
/// `{port}`.
///
/// # Errors
/// Redis is not installed.
pub fn command(port: &str) -> Result<Vec<String>> {
    let server = programs::find("redis-server", "redis-server")?;
    let settings = ["--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    let words = [server.display().to_string()].into_iter();
    Ok(words.chain(settings.map(str::to_owned)).collect())
}

/// Starts a Redis on a port and waits until it responds.
///
/// # Errors
/// Redis is not installed, ends, or does not respond.
pub fn start(env: &TestEnv, port: u16) -> Result<Process> {
    let words = command(&port.to_string())?;
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).current_dir(env.directory());
    let mut server = env.spawn("redis", command)?;
    server.wait_until("Redis to answer", || ping(port))?;
    Ok(server)
}

/// Checks that a Redis responds on the port.
///
/// # Errors
/// The connection fails, or the response is not Redis's.
pub fn ping(port: u16) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    ensure!(&answer == b"+PONG\r\n", "not a response of Redis: {}", answer.escape_ascii());
    Ok(())
}
