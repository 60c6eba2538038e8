//! A bare hyper server that sends prepared bytes.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use crate::bench_env::BenchEnv;
use crate::served::WITHIN;

/// The argument that makes this program a bare server at the address and with the bodies that follow it.
pub const BARE: &str = "bare";

/// The server. Dropping it ends it.
pub(super) struct Bare {
    child: Child,
    address: SocketAddr,
}

type Bodies = HashMap<String, Bytes>;

// === impl Bare ===

impl Bare {
    /// Starts it with the answer for each service.
    pub(super) fn start(env: &BenchEnv, bodies: &[String]) -> Result<Self> {
        let file = env.directory().join("bodies.json");
        std::fs::write(&file, serde_json::to_vec(bodies)?)?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new(std::env::current_exe()?);
        let child = command.arg(BARE).arg(address.to_string()).arg(file).spawn()?;
        let (bare, began) = (Self { child, address }, Instant::now());
        while TcpStream::connect(address).is_err() {
            ensure!(began.elapsed() < WITHIN, "the bare server does not listen");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Ok(bare)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Serves the bodies until this process is killed.
pub fn serve(address: &str, file: &Path) -> Result<()> {
    let bodies: Vec<String> = serde_json::from_slice(&std::fs::read(file)?)?;
    let named = |(number, body): (usize, String)| (format!("svc-{number}"), Bytes::from(body));
    let bodies: Arc<Bodies> = Arc::new(bodies.into_iter().enumerate().map(named).collect());
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let bodies = Arc::clone(&bodies);
            let service = service_fn(move |request| {
                let answer = answer(&request, &bodies).context("no such service");
                std::future::ready(Ok::<_, Infallible>(answer.unwrap_or_default()))
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            drop(tokio::spawn(connection));
        }
    })
}

fn answer(request: &Request<Incoming>, bodies: &Bodies) -> Option<Response<Full<Bytes>>> {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let name = request.uri().query()?.strip_prefix("name=")?;
    let mut response = Response::new(Full::new(bodies.get(name)?.clone()));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    Some(response)
}
