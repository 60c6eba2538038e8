//! A real Redis server for each test, all at the same time.

#![allow(clippy::disallowed_methods, reason = "no async runtime, so no paused clock")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use portolan_testing::Port;

const INSTALL: &str = "apt-get install --no-install-recommends redis-server";

/// A server that is stopped at the end of the test.
struct Redis {
    server: Child,
    port: Port,
}

impl Redis {
    fn start() -> Self {
        let port = portolan_testing::port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        let server = command.stdout(Stdio::null()).spawn();
        let server = server.unwrap_or_else(|error| panic!("redis-server: {error}; {INSTALL}"));
        Self { server, port }.ready()
    }

    fn ready(mut self) -> Self {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.try_ask("PING").is_err() {
            let ended = self.server.try_wait().expect("the state of our child");
            assert!(ended.is_none() && Instant::now() < deadline, "no Redis answers: {ended:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
        self
    }

    fn ask(&self, command: &str) -> String {
        self.try_ask(command).expect("an answer")
    }

    fn try_ask(&self, command: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.port.address())?;
        stream.write_all(format!("{command}\r\n").as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        Ok(answer.trim_end().to_owned())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        _ = self.server.kill();
        _ = self.server.wait();
    }
}

#[test]
fn redis_responds() {
    assert_eq!(Redis::start().ask("PING"), "+PONG");
}

#[test]
fn each_test_has_its_own_data() {
    assert_eq!(Redis::start().ask("INCR visits"), ":1");
}

#[test]
fn eight_servers_run_at_the_same_time() {
    let servers: Vec<Redis> = (0..8).map(|_| Redis::start()).collect();
    for server in &servers {
        assert_eq!(server.ask("INCR visits"), ":1");
    }
}
