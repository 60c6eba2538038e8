//! Redis with the same bytes.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::bench_env::BenchEnv;
use crate::load::Load;
use crate::served::WITHIN;

/// `redis-server`. Dropping it ends it.
pub(super) struct Redis {
    child: Child,
    address: SocketAddr,
}

// === impl Redis ===

impl Redis {
    /// Starts it with the answer for each service; `None` if it is not installed.
    pub(super) fn start(env: &BenchEnv, bodies: &[String]) -> Result<Option<Self>> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let port = address.port().to_string();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no"]);
        let spawned = command.current_dir(env.directory()).stdout(Stdio::null()).spawn();
        let Ok(child) = spawned else { return Ok(None) };
        let redis = Self { child, address };
        let mut stream = redis.connect()?;
        for (number, body) in bodies.iter().enumerate() {
            let set = command_of(&["SET", &format!("svc-{number}"), body]);
            stream.get_mut().write_all(&set)?;
            let mut answer = String::new();
            stream.read_line(&mut answer)?;
            ensure!(answer == "+OK\r\n", "{answer}");
        }
        Ok(Some(redis))
    }

    pub(super) fn load(&self, keys: usize) -> Result<Load> {
        let requests = (0..keys).map(|number| command_of(&["GET", &format!("svc-{number}")]));
        Load::fixed(self.address, self.child.id(), requests.collect(), |response| {
            let head = response.windows(2).position(|bytes| bytes == b"\r\n")? + 2;
            let length = std::str::from_utf8(response.get(1..head)?).ok()?.trim();
            Some(head + length.parse::<usize>().ok()? + 2)
        })
    }

    fn connect(&self) -> Result<BufReader<TcpStream>> {
        let began = Instant::now();
        loop {
            match TcpStream::connect(self.address) {
                Ok(stream) => return Ok(BufReader::new(stream)),
                Err(error) => ensure!(began.elapsed() < WITHIN, "redis-server: {error}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A command in the protocol of Redis (RESP).
fn command_of(words: &[&str]) -> Vec<u8> {
    let mut command = format!("*{}\r\n", words.len());
    for word in words {
        command += &format!("${}\r\n{word}\r\n", word.len());
    }
    command.into()
}
