//! A load generator with 64 connections.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::health::process::cpu_time;

const CONNECTIONS: usize = 64;
const SAMPLE: Duration = Duration::from_secs(1);

/// A server with the requests that it gets.
pub(super) struct Load {
    pid: u32,
    connections: Vec<tokio::net::TcpStream>,
    exchanges: Arc<Vec<Exchange>>,
    runtime: Runtime,
}

/// A request, and how long its response is, which is always the same.
pub(super) struct Exchange {
    request: Vec<u8>,
    length: usize,
}

/// What one sample shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sampled {
    /// Requests a second.
    pub(super) rate: f64,
    /// The processor time of the server for each of them.
    pub(super) cpu_micros: f64,
}

// === impl Load ===

impl Load {
    /// A server that speaks HTTP.
    pub(super) fn http(
        address: SocketAddr,
        pid: u32,
        requests: usize,
        request: impl Fn(usize) -> Vec<u8>,
    ) -> Result<Self> {
        let requests = (0..requests).map(request).collect();
        Self::new(address, pid, requests, |response| {
            let head = response.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
            let text = std::str::from_utf8(&response[..head]).ok()?.to_ascii_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:"))?;
            Some(head + length.trim().parse::<usize>().ok()?)
        })
    }

    /// A server, and how to see from the beginning of a response how long it is.
    pub(super) fn new(
        address: SocketAddr,
        pid: u32,
        requests: Vec<Vec<u8>>,
        length: impl Fn(&[u8]) -> Option<usize>,
    ) -> Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        let exchange = |request| Exchange::new(&mut stream, request, &length);
        let exchanges = Arc::new(requests.into_iter().map(exchange).collect::<Result<_>>()?);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let connect = async {
            let mut connections = Vec::new();
            for _ in 0..CONNECTIONS {
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
    pub(super) fn sample(&mut self) -> Result<Sampled> {
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
        buffer.resize(*length, 0);
        stream.read_exact(&mut buffer).await?;
        sent += 1;
    }
    Ok((stream, sent))
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
                return Ok(Self { request, length });
            }
        }
    }
}
