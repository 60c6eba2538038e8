//! One request and its response, over a connection of its own.

use std::pin::pin;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::Target;
use crate::reach::{ConnectError, Connected, Stream};
use crate::tls::{TlsFailure, TlsUse};

/// A request.
pub(super) struct Request<'a> {
    pub(super) method: &'a Method,
    pub(super) authority: &'a str,
    pub(super) path: &'a str,
    pub(super) tls: Option<&'a TlsUse>,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("{0}")]
    Tls(#[from] TlsFailure),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Request(#[from] http::Error),
}

/// A response, and the connection that must be polled while its body is read.
pub(super) struct Exchange {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Whether the server is at the address that registered the instance, or the check is this program's own.
    pub(super) is_of_registrant: bool,
    body: Incoming,
    connection: http1::Connection<TokioIo<Stream>, Empty<Bytes>>,
}

// === impl Request ===

impl Request<'_> {
    pub(super) async fn send(&self, target: &Target) -> Result<Exchange, RequestError> {
        let Connected { stream, is_of_registrant } = target.reach.connect(self.authority).await?;
        let stream: Stream = match self.tls {
            None => Box::new(stream),
            Some(tls) => tls.connect(stream, self.host(), &[], target).await?,
        };
        self.exchange(stream, is_of_registrant).await
    }

    /// The host of the authority, without the brackets of an IPv6 address.
    fn host(&self) -> &str {
        let host = self.authority.rsplit_once(':').map_or(self.authority, |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }

    async fn exchange(
        &self,
        stream: Stream,
        is_of_registrant: bool,
    ) -> Result<Exchange, RequestError> {
        let (mut sender, mut connection) =
            http1::Builder::new().max_buf_size(16 * 1024).handshake(TokioIo::new(stream)).await?;
        let request = http::Request::builder()
            .method(self.method)
            .uri(self.path)
            .header(header::HOST, self.authority)
            .header(header::USER_AGENT, concat!("portolan-health/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())?;
        let mut response = pin!(sender.send_request(request));
        // The connection is polled here and not in a task, so that dropping this future closes it.
        let response = tokio::select! {
            response = &mut response => response?,
            closed = &mut connection => {
                closed?;
                response.await?
            }
        };
        let (head, body) = response.into_parts();
        let (status, headers) = (head.status, head.headers);
        Ok(Exchange { status, headers, is_of_registrant, body, connection })
    }
}

// === impl Exchange ===

impl Exchange {
    /// Reads at most so many bytes of the body.
    pub(super) async fn body(self, limit: usize) -> String {
        let mut reading = pin!(read(self.body, limit));
        let bytes = tokio::select! {
            bytes = &mut reading => bytes,
            // The data that arrived before the connection closed can still be read.
            _ = self.connection => reading.await,
        };
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

async fn read(mut body: Incoming, limit: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Some(data) = frame.data_ref() {
            bytes.extend_from_slice(&data[..data.len().min(limit - bytes.len())]);
        }
        if bytes.len() >= limit {
            break;
        }
    }
    bytes
}
