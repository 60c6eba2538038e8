//! What attackers send.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use super::{ADDRESSES, address};
use crate::flood::server::TOKEN;

/// How many connections a step of [`Held`] opens.
const AT_ONCE: usize = 50;
/// How long an answer may take.
const ANSWERED: Duration = Duration::from_secs(10);

/// An attacker, which works in small steps.
pub(super) trait Attacker: Send {
    /// Goes on with the attack. Returns whether it is in force.
    fn step(&mut self) -> Result<bool>;

    /// Ends the attack for now.
    fn stop(&mut self);
}

/// One address that sends requests as fast as they are answered.
pub(super) struct Requests {
    target: SocketAddr,
    request: fn(usize) -> String,
    connection: Option<BufReader<TcpStream>>,
    sent: usize,
}

/// Several addresses that open connections and let them be.
pub(super) struct Held {
    target: SocketAddr,
    begins: Vec<String>,
    connections: Vec<TcpStream>,
    wanted: usize,
    opened: usize,
}

/// Lets this process have as many descriptors as it may.
pub(super) fn raise_descriptor_limit() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

fn connect(target: SocketAddr, number: usize) -> Result<TcpStream> {
    let others = usize::from(ADDRESSES) - 1;
    let from = address(u8::try_from(number % others)? + 2);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // So that the ports of ended connections are no obstacle to the registry of the next attack.
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.set_read_timeout(Some(ANSWERED))?;
    socket.connect_timeout(&target.into(), ANSWERED)?;
    Ok(socket.into())
}

fn get(path: &str, token: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n")
}

// === impl Requests ===

impl Requests {
    pub(super) fn flood(target: SocketAddr) -> Self {
        Self::new(target, |number| get(&format!("/api/v1/services?name=svc-{number}"), TOKEN))
    }

    pub(super) fn guesses(target: SocketAddr) -> Self {
        Self::new(target, |number| get("/api/v1/services?limit=1", &format!("guess-{number}")))
    }

    fn new(target: SocketAddr, request: fn(usize) -> String) -> Self {
        Self { target, request, connection: None, sent: 0 }
    }

    /// Sends a request and reads its answer. Returns whether the connection goes on.
    fn exchange(connection: &mut BufReader<TcpStream>, request: &str) -> std::io::Result<bool> {
        connection.get_mut().write_all(request.as_bytes())?;
        let (mut length, mut goes_on) = (0, true);
        loop {
            let mut line = String::new();
            if connection.read_line(&mut line)? == 0 {
                return Ok(false);
            }
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            goes_on &= line != "connection: close";
            if line.is_empty() {
                break;
            }
        }
        connection.read_exact(&mut vec![0; length])?;
        Ok(goes_on)
    }
}

impl Attacker for Requests {
    fn step(&mut self) -> Result<bool> {
        if self.connection.is_none() {
            self.connection = connect(self.target, 0).ok().map(BufReader::new);
        }
        let Some(connection) = &mut self.connection else { return Ok(true) };
        self.sent += 1;
        // A server that ends the connection is what the attacker expects.
        if !Self::exchange(connection, &(self.request)(self.sent)).unwrap_or(false) {
            self.connection = None;
        }
        Ok(true)
    }

    fn stop(&mut self) {
        self.connection = None;
    }
}

// === impl Held ===

impl Held {
    /// Connections that send nothing, a part of the head, or a part of the body.
    pub(super) fn half_open(target: SocketAddr, wanted: usize) -> Self {
        let head = "GET / HTTP/1.1\r\nX: ".to_owned();
        let body = format!(
            "POST /api/v1/services HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\
             Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
        );
        Self::new(target, vec![String::new(), head, body], wanted)
    }

    /// Connections that ask for lists and watches, and read nothing.
    pub(super) fn unread(target: SocketAddr, wanted: usize) -> Self {
        let lists = get("/api/v1/services", TOKEN).repeat(10);
        Self::new(target, vec![lists, get("/api/v1/watch", TOKEN)], wanted)
    }

    fn new(target: SocketAddr, begins: Vec<String>, wanted: usize) -> Self {
        Self { target, begins, connections: Vec::new(), wanted, opened: 0 }
    }

    fn open(&mut self) -> Result<()> {
        let mut connection = connect(self.target, self.opened)?;
        let begin = &self.begins[self.opened % self.begins.len()];
        self.opened += 1;
        // It may be refused already; then it costs the server nothing.
        _ = connection.write_all(begin.as_bytes());
        self.connections.push(connection);
        Ok(())
    }
}

impl Attacker for Held {
    fn step(&mut self) -> Result<bool> {
        if self.connections.len() >= self.wanted {
            thread::sleep(Duration::from_millis(1));
            return Ok(true);
        }
        for _ in 0..AT_ONCE {
            self.open().context("no connection")?;
        }
        Ok(false)
    }

    fn stop(&mut self) {
        self.connections.clear();
    }
}
