//! A server on a port of its own, with one small dialect.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{Dialect, HttpLimits, LimitedBody, RequestError, ServeError, serve};

/// How long any step may take before a test fails: far longer than it needs.
pub(super) const TEST_TIMEOUT: Duration = Duration::from_secs(20);
/// A limit that a test waits for.
pub(super) const SHORT: Duration = Duration::from_millis(200);

/// Errors as one line of text.
pub(super) fn errors(error: &RequestError) -> Response {
    (error.status(), format!("plain: {error}")).into_response()
}

/// `GET /ping`, `GET /wait`, which is not answered, and `POST /length`, which answers the length of the body.
pub(super) fn plain() -> Dialect {
    let length = async |LimitedBody(body): LimitedBody| body.len().to_string();
    let wait = get(async || std::future::pending::<()>().await);
    let router = Router::new().route("/ping", get(async || "pong")).route("/wait", wait);
    let router = router.route("/length", post(length));
    Dialect::new(router, errors)
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    shutdown: CancellationToken,
    serving: JoinHandle<Result<(), ServeError>>,
}

impl Server {
    pub(super) async fn start(limits: HttpLimits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let stopped = shutdown.clone().cancelled_owned();
        let serving = tokio::spawn(serve(listener, [plain()], limits, stopped));
        Self { address, shutdown, serving }
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(super) async fn ping(&self) -> reqwest::Response {
        reqwest::get(format!("http://{}/ping", self.address)).await.unwrap()
    }

    /// Shuts the server down and waits until it has ended.
    pub(super) async fn stop(&mut self) {
        self.shutdown.cancel();
        timeout(TEST_TIMEOUT, &mut self.serving).await.unwrap().unwrap().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Reads until the server closes the connection.
pub(super) async fn read_to_end(mut stream: impl AsyncRead + Unpin) -> String {
    let mut bytes = Vec::new();
    timeout(TEST_TIMEOUT, stream.read_to_end(&mut bytes)).await.expect("not closed").unwrap();
    String::from_utf8(bytes).unwrap()
}
