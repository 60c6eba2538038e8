//! The HTTP/2 connections of a channel, one for each instance.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use portolan_core::{Incarnation, ServiceEndpoint, ServiceId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::body::Body;
use tracing::debug;

/// How long a connection may take to be established: on a local network it takes milliseconds.
const CONNECT: Duration = Duration::from_secs(2);
/// The interval of HTTP/2 pings while a call is open, and how long their answer may take: a host that is gone is noticed
/// within 15 s.
const PING: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

/// The connections by instance.
#[derive(Default)]
pub(super) struct Connections {
    slots: Mutex<HashMap<ServiceId, Arc<Slot>>>,
    transport: Transport,
}

/// How connections are protected.
#[derive(Clone, Default)]
enum Transport {
    #[default]
    Plain,
    #[cfg(feature = "tls")]
    Tls(Arc<portolan_tls::ServiceTls>),
}

/// The connection to one run of an instance. One caller at a time connects.
struct Slot {
    run: Run,
    sender: tokio::sync::Mutex<Option<SendRequest<Body>>>,
}

/// What tells one run of an instance from another.
type Run = (String, Option<Incarnation>);

/// A call that was not sent, and the request if it is left.
pub(super) struct NotSent {
    pub(super) request: Option<Request<Body>>,
    pub(super) error: Error,
}

type Error = Box<dyn std::error::Error + Send + Sync>;
/// The response, or why there is none although the request may have been sent.
type Sent = hyper::Result<Response<Incoming>>;

// === impl Connections ===

impl Connections {
    /// Returns connections with TLS.
    #[cfg(feature = "tls")]
    pub(super) fn encrypted(tls: portolan_tls::ServiceTls) -> Self {
        Self { slots: Mutex::default(), transport: Transport::Tls(Arc::new(tls)) }
    }

    /// Sends the request to the instance.
    pub(super) async fn send(
        &self,
        endpoint: &ServiceEndpoint,
        request: Request<Body>,
    ) -> Result<Sent, NotSent> {
        let slot = self.slot(endpoint);
        let mut sender = match slot.sender(&self.transport).await {
            Ok(sender) => sender,
            Err(error) => return Err(NotSent { request: Some(request), error }),
        };
        match sender.try_send_request(request).await {
            Ok(response) => Ok(Ok(response)),
            Err(mut failed) => match failed.take_message() {
                // The connection was closed before the request was written.
                Some(request) => {
                    let error = failed.into_error().into();
                    Err(NotSent { request: Some(request), error })
                }
                None => Ok(Err(failed.into_error())),
            },
        }
    }

    /// Returns the slot of the instance. Those of other runs, and of instances that have ended, are removed; their connections
    /// end with their last call.
    fn slot(&self, endpoint: &ServiceEndpoint) -> Arc<Slot> {
        let run = (endpoint.address(), endpoint.incarnation);
        let mut slots = self.slots.lock();
        match slots.get(&endpoint.id) {
            Some(slot) if slot.run == run => Arc::clone(slot),
            _ => {
                slots.retain(|_, slot| slot.is_open());
                let slot = Arc::new(Slot { run, sender: Default::default() });
                slots.insert(endpoint.id.clone(), Arc::clone(&slot));
                slot
            }
        }
    }
}

// === impl Slot ===

impl Slot {
    /// Returns the connection, established if there is none.
    async fn sender(&self, transport: &Transport) -> Result<SendRequest<Body>, Error> {
        let mut sender = self.sender.lock().await;
        if let Some(open) = &mut *sender
            && open.ready().await.is_ok()
        {
            return Ok(open.clone());
        }
        *sender = None;
        let connected = timeout(CONNECT, transport.connect(&self.run.0)).await;
        let connected = connected.map_err(|_| format!("no connection within {CONNECT:?}"))??;
        Ok(sender.insert(connected).clone())
    }

    /// Returns whether the connection is open, or being established.
    fn is_open(&self) -> bool {
        self.sender
            .try_lock()
            .map_or(true, |sender| sender.as_ref().is_some_and(|it| !it.is_closed()))
    }
}

// === impl Transport ===

impl Transport {
    async fn connect(&self, address: &str) -> Result<SendRequest<Body>, Error> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        match self {
            Self::Plain => shake_hands(address, stream).await,
            #[cfg(feature = "tls")]
            Self::Tls(tls) => {
                let failed = |error| format!("TLS to {}: {error}", tls.name());
                shake_hands(address, tls.connect(stream).await.map_err(failed)?).await
            }
        }
    }
}

async fn shake_hands<S>(address: &str, stream: S) -> Result<SendRequest<Body>, Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).keep_alive_interval(PING.0).keep_alive_timeout(PING.1);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    let address = address.to_owned();
    // It ends with the last sender and the last call.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            debug!(address, %error, "Connection ended");
        }
    });
    Ok(sender)
}
