//! A load generator: connections that send one request at a time, over and over.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::health::process::cpu_time;

const SAMPLE: Duration = Duration::from_secs(1);

/// A server with the requests that it gets.
pub(crate) struct Load {
    pid: u32,
    connections: Vec<tokio::net::TcpStream>,
    exchanges: Arc<Vec<Exchange>>,
    runtime: Runtime,
}

/// A request, and how long its response is.
pub(crate) struct Exchange {
    request: Vec<u8>,
    /// `None` if the length is in the head of each response.
    length: Option<usize>,
}

/// What one sample shows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sampled {
    /// Requests a second.
    pub(crate) rate: f64,
    /// The processor time of the server for each of them.
    pub(crate) cpu_micros: f64,
}

// === impl Load ===

impl Load {
    /// A server that speaks HTTP, and always gives the same answer to a request.
    pub(crate) fn http(
        address: SocketAddr,
        pid: u32,
        requests: usize,
        request: impl Fn(usize) -> Vec<u8>,
    ) -> Result<Self> {
        Self::fixed(address, pid, (0..requests).map(request).collect(), length_of_response)
    }

    /// A server whose answers have a fixed length, and how to see from the beginning of the first one how long it is.
    pub(crate) fn fixed(
        address: SocketAddr,
        pid: u32,
        requests: Vec<Vec<u8>>,
        length: impl Fn(&[u8]) -> Option<usize>,
    ) -> Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        let exchange = |request| Exchange::new(&mut stream, request, &length);
        let exchanges = requests.into_iter().map(exchange).collect::<Result<_>>()?;
        Self::new(address, pid, exchanges, 64)
    }

    /// A server that speaks HTTP, and the requests of so many connections.
    pub(crate) fn varying(
        address: SocketAddr,
        pid: u32,
        requests: Vec<Vec<u8>>,
        connections: usize,
    ) -> Result<Self> {
        let exchange = |request| Exchange { request, length: None };
        Self::new(address, pid, requests.into_iter().map(exchange).collect(), connections)
    }

    fn new(
        address: SocketAddr,
        pid: u32,
        exchanges: Vec<Exchange>,
        connections: usize,
    ) -> Result<Self> {
        let exchanges = Arc::new(exchanges);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let connect = async {
            let count = connections;
            let mut connections = Vec::new();
            for _ in 0..count {
                let stream = tokio::net::TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                connections.push(stream);
            }
            Ok::<_, anyhow::Error>(connections)
        };
        let connections = runtime.block_on(connect)?;
        Ok(Self { pid, connections, exchanges, runtime })
    }

    /// Sends requests for the duration of a sample, each connection one at a time.
    pub(crate) fn sample(&mut self) -> Result<Sampled> {
        let (connections, exchanges) = (std::mem::take(&mut self.connections), &self.exchanges);
        let (before, began) = (cpu_time(self.pid)?, Instant::now());
        let (connections, count) = self.runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for (number, stream) in connections.into_iter().enumerate() {
                tasks.spawn(requests(stream, Arc::clone(exchanges), number, began + SAMPLE));
            }
            let (mut connections, mut count) = (Vec::new(), 0);
            while let Some(ended) = tasks.join_next().await {
                let (stream, sent) = ended??;
                connections.push(stream);
                count += sent;
            }
            Ok::<_, anyhow::Error>((connections, count))
        })?;
        let (took, cpu) = (began.elapsed(), cpu_time(self.pid)? - before);
        self.connections = connections;
        ensure!(count > 0, "no response");
        let count = count as f64;
        let (rate, cpu_micros) = (count / took.as_secs_f64(), cpu.as_secs_f64() * 1e6 / count);
        Ok(Sampled { rate, cpu_micros })
    }
}

async fn requests(
    mut stream: tokio::net::TcpStream,
    exchanges: Arc<Vec<Exchange>>,
    first: usize,
    until: Instant,
) -> Result<(tokio::net::TcpStream, usize)> {
    let mut buffer = Vec::new();
    let mut sent = 0;
    while Instant::now() < until {
        // The connections are spread over the services.
        let Exchange { request, length } = &exchanges[(first * 17 + sent) % exchanges.len()];
        stream.write_all(request).await?;
        match length {
            Some(length) => {
                buffer.resize(*length, 0);
                stream.read_exact(&mut buffer).await?;
            }
            None => read_response(&mut stream, &mut buffer).await?,
        }
        sent += 1;
    }
    Ok((stream, sent))
}

/// Reads a response of any length. It must say that the request succeeded.
async fn read_response(stream: &mut tokio::net::TcpStream, buffer: &mut Vec<u8>) -> Result<()> {
    buffer.clear();
    loop {
        ensure!(stream.read_buf(buffer).await? > 0, "the connection ended");
        if length_of_response(buffer).is_some_and(|length| buffer.len() >= length) {
            let is_success = buffer.starts_with(b"HTTP/1.1 20");
            ensure!(is_success, "{}", String::from_utf8_lossy(buffer));
            return Ok(());
        }
    }
}

/// The length of the response that begins with these bytes, once its head is there.
fn length_of_response(response: &[u8]) -> Option<usize> {
    let head = response.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&response[..head]).ok()?;
    let is_length = |line: &&str| {
        line.get(..15).is_some_and(|name| name.eq_ignore_ascii_case("content-length:"))
    };
    let length = match text.lines().find(is_length) {
        Some(line) => line[15..].trim().parse().ok()?,
        // Without content (204).
        None => 0,
    };
    Some(head + length)
}

// === impl Exchange ===

impl Exchange {
    fn new(
        stream: &mut TcpStream,
        request: Vec<u8>,
        length: impl Fn(&[u8]) -> Option<usize>,
    ) -> Result<Self> {
        stream.write_all(&request)?;
        let (mut response, mut buffer) = (Vec::new(), [0; 64 * 1024]);
        loop {
            let read = stream.read(&mut buffer)?;
            ensure!(read > 0, "the connection ended");
            response.extend(&buffer[..read]);
            let length = length(&response).filter(|length| response.len() >= *length);
            if let Some(length) = length {
                ensure!(response.len() == length, "more than one response");
                let start = response.get(..15).context("a short response")?;
                let is_success = start.starts_with(b"HTTP/1.1 200") || start.starts_with(b"$");
                ensure!(is_success, "{}", String::from_utf8_lossy(start));
                return Ok(Self { request, length: Some(length) });
            }
        }
    }
}
