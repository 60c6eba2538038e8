//! The registry that is flooded, and its client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};
use tempfile::TempDir;

use super::{SAMPLE, SERVICES};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 0, 1);
pub(crate) const TOKEN: &str = "a token of the benchmark";
const DROPPED: &str = "discovery_broadcast_dropped_total{";

/// A registry with a token and a key on its channel.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(super) channel: SocketAddrV4,
    directory: TempDir,
}

/// A connection to a registry.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
}

/// Returns how many datagrams did not fit into the queues of the channel's sockets.
pub(super) fn overflowed(port: u16) -> Result<u64> {
    let sockets = std::fs::read_to_string("/proc/net/udp")?;
    let local = format!("0100FFEF:{port:04X}");
    let channel = sockets.lines().filter(|line| line.contains(&local));
    Ok(channel.filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok()).sum())
}

// === impl Server ===

impl Server {
    pub(crate) fn start() -> Result<Self> {
        Self::start_on(Ipv4Addr::LOCALHOST)
    }

    /// Starts a registry that listens on this address.
    pub(crate) fn start_on(address: Ipv4Addr) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("portolan-bench-").tempdir()?;
        let free_port =
            || Ok::<_, anyhow::Error>(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port());
        let address = SocketAddr::from((address, free_port()?));
        let channel = SocketAddrV4::new(GROUP, free_port()?);
        let mut serve = portolan(&directory, channel)?;
        serve.args(["serve", "--listen", &address.to_string()]);
        let child = serve.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let server = Self { child, address, channel, directory };
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            ensure!(began.elapsed() < Duration::from_secs(10), "the registry does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    /// The resident memory of the registry.
    pub(crate) fn memory_mib(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: f64 = line.context("no VmRSS")?.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1024.0)
    }

    /// Returns a signed announcement that the registry has received.
    pub(super) fn genuine(&self) -> Result<Vec<u8>> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.bind(&SocketAddr::V4(self.channel).into())?;
        socket.join_multicast_v4(&GROUP, &Ipv4Addr::LOCALHOST)?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut announce = portolan(&self.directory, self.channel)?;
        announce.args(["announce", "genuine", "--port", "9"]).stdout(Stdio::null());
        ensure!(announce.status()?.success(), "no announcement");
        let (socket, mut buffer) = (UdpSocket::from(socket), vec![0; 65536]);
        let size = socket.recv(&mut buffer)?;
        buffer.truncate(size);
        Ok(buffer)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn portolan(directory: &TempDir, channel: SocketAddrV4) -> Result<Command> {
    let program: PathBuf = std::env::current_exe()?.with_file_name("portolan");
    ensure!(program.is_file(), "{} is missing; build portolan-cli first", program.display());
    let mut command = Command::new(program);
    command
        .current_dir(directory.path())
        .env("XDG_RUNTIME_DIR", directory.path())
        .env("XDG_STATE_HOME", directory.path())
        .env("HOME", directory.path())
        .env("PORTOLAN_TOKEN", TOKEN)
        .env("PORTOLAN_SERVICE_REGISTRY__ALLOW_ROOT", "true")
        .env("PORTOLAN_BROADCAST__INTERFACE", "127.0.0.1")
        .env("PORTOLAN_BROADCAST__KEY", "a key that only this benchmark knows")
        .env("PORTOLAN_BROADCAST__MULTICAST_ADDRESS", channel.to_string());
    Ok(command)
}

// === impl Client ===

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self { stream: BufReader::new(stream), address })
    }

    pub(crate) fn register(&mut self, number: usize) -> Result<()> {
        let body = format!(
            r#"{{"name": "svc-{number}", "host": "10.0.0.1", "port": {}, "ttl": 3600}}"#,
            1024 + number
        );
        self.request("POST /api/v1/services", &body).map(drop)
    }

    /// Looks services up for the duration of a sample, and returns how long each took in nanoseconds.
    pub(crate) fn sample(&mut self) -> Result<Vec<u32>> {
        let (began, mut durations) = (Instant::now(), Vec::new());
        while began.elapsed() < SAMPLE {
            let path = format!("GET /api/v1/services?name=svc-{}", durations.len() % SERVICES);
            let asked = Instant::now();
            let answer = self.request(&path, "")?;
            durations.push(u32::try_from(asked.elapsed().as_nanos()).unwrap_or(u32::MAX));
            ensure!(answer.contains("10.0.0.1"), "{path}: {answer}");
        }
        Ok(durations)
    }

    pub(super) fn dropped(&self) -> Result<u64> {
        let page = Self::connect(self.address)?.request("GET /metrics", "")?;
        let counters = page.lines().filter(|line| line.starts_with(DROPPED));
        let counts =
            counters.map(|line| line.rsplit(' ').next().unwrap_or_default().parse::<u64>());
        Ok(counts.sum::<Result<u64, _>>()?)
    }

    /// Sends a request, such as `GET /metrics`, and returns the body of a successful answer.
    pub(crate) fn request(&mut self, head: &str, body: &str) -> Result<String> {
        let length = body.len();
        let request = format!(
            "{head} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut length = None;
        let mut status = String::new();
        self.stream.read_line(&mut status)?;
        loop {
            let mut line = String::new();
            ensure!(self.stream.read_line(&mut line)? > 0, "{head}: the connection ended");
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            length = line
                .strip_prefix("content-length:")
                .and_then(|it| it.trim().parse().ok())
                .or(length);
        }
        let mut answer = vec![0; length.context("an answer without a length")?];
        self.stream.read_exact(&mut answer)?;
        let answer = String::from_utf8(answer)?;
        ensure!(status.contains(" 20"), "{head}: {status}{answer}");
        Ok(answer)
    }
}
