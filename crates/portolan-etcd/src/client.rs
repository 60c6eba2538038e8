//! Calls with deadlines, failover over the endpoints, and authentication.

use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::messages::{AuthenticateRequest, AuthenticateResponse};
use crate::{EtcdError, EtcdOptions, EtcdUser};

/// How long one endpoint may take to answer before the next one is asked.
const ATTEMPT: Duration = Duration::from_millis(1500);
/// How long a call may take with all its attempts.
const CALL: Duration = Duration::from_secs(4);
/// The largest response. etcd limits a request to 1.5 MiB, and splits responses of a watch by it.
const MAX_RESPONSE: usize = 16 * 1024 * 1024;
/// The metadata that carries the token of the session.
const TOKEN: &str = "token";
/// The metadata that makes a stream end if the member has no leader, instead of silently lagging behind.
const HAS_LEADER: &str = "hasleader";

/// A client of an etcd cluster. Cheap to clone; all clones share the connections.
#[derive(Debug, Clone)]
pub struct EtcdClient {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    endpoints: Vec<(String, Channel)>,
    /// The number of failovers so far. It selects the endpoint that is used.
    failovers: watch::Sender<usize>,
    user: Option<EtcdUser>,
    token: Mutex<Option<MetadataValue<Ascii>>>,
    /// Held while the session is created: once for all calls that wait for it, because etcd hashes the password for each.
    authenticating: tokio::sync::Mutex<()>,
}

/// A stream that is open as long as `requests` exists.
#[derive(Debug)]
pub(crate) struct OpenStream<Q, A> {
    pub(crate) url: String,
    pub(crate) first: A,
    pub(crate) responses: Streaming<A>,
    /// Held open: the end of the requests ends a watch.
    pub(crate) requests: mpsc::Sender<Q>,
}

/// The attempts of one call.
#[derive(Debug)]
struct Attempts<'a> {
    client: &'a EtcdClient,
    repeat: Repeat,
    until: Instant,
    /// How many attempts found their endpoint unreachable.
    unreachable: usize,
    /// Whether the token was renewed.
    renewed: bool,
}

/// One attempt, at one endpoint.
#[derive(Debug)]
struct Attempt {
    failovers: usize,
    url: String,
    channel: Channel,
    token: Option<MetadataValue<Ascii>>,
    deadline: Instant,
}

/// Whether a call may be repeated if it is unknown whether it took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    Safe,
    Unsafe,
}

// === impl EtcdClient ===

impl EtcdClient {
    /// Creates a client, which connects when it is used. Must be called within a runtime.
    ///
    /// # Errors
    ///
    /// If an endpoint or a certificate is invalid.
    pub fn new(options: EtcdOptions) -> Result<Self, EtcdError> {
        let endpoints = options.channels()?;
        let (failovers, user) = (watch::Sender::new(0), options.user);
        let (token, authenticating) = (Mutex::default(), tokio::sync::Mutex::default());
        let shared = Shared { endpoints, failovers, user, token, authenticating };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Notifies of each failover to another endpoint. A stream should then be opened again, because the
    /// one in use may be at the endpoint that failed.
    pub fn failovers(&self) -> watch::Receiver<usize> {
        self.shared.failovers.subscribe()
    }

    fn current(&self) -> (usize, &(String, Channel)) {
        let failovers = *self.shared.failovers.borrow();
        (failovers, &self.shared.endpoints[failovers % self.shared.endpoints.len()])
    }

    /// Turns to the next endpoint, unless another call has done that since.
    fn fail_over(&self, from: usize) {
        self.shared.failovers.send_if_modified(|failovers| {
            let is_first = *failovers == from && self.shared.endpoints.len() > 1;
            *failovers += usize::from(is_first);
            is_first
        });
    }

    /// Calls a method with one request and one response.
    pub(crate) async fn unary<Q, A>(
        &self,
        method: &'static str,
        request: Q,
        repeat: Repeat,
    ) -> Result<A, EtcdError>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let mut attempts = Attempts::new(self, repeat);
        loop {
            let attempt = attempts.begin().await?;
            match attempt.unary(method, request.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => attempts.failed(&attempt, error)?,
            }
        }
    }

    /// Opens a stream of requests and responses, and waits for the first response.
    pub(crate) async fn stream<Q, A>(
        &self,
        method: &'static str,
        first: Q,
    ) -> Result<OpenStream<Q, A>, EtcdError>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let mut attempts = Attempts::new(self, Repeat::Safe);
        loop {
            let attempt = attempts.begin().await?;
            match attempt.stream(method, first.clone()).await {
                Ok(stream) => return Ok(stream),
                Err(error) => attempts.failed(&attempt, error)?,
            }
        }
    }

    /// Returns the token of the session, which is created if the user has none.
    async fn token(&self, attempt: &Attempt) -> Result<Option<MetadataValue<Ascii>>, EtcdError> {
        let Some(user) = &self.shared.user else { return Ok(None) };
        let known = || self.shared.token.lock().clone();
        if let Some(token) = known() {
            return Ok(Some(token));
        }
        let authenticating = timeout_at(attempt.deadline, self.shared.authenticating.lock()).await;
        let _authenticating = authenticating.map_err(|_| attempt.timeout())?;
        if let Some(token) = known() {
            return Ok(Some(token));
        }
        let (name, password) = (user.name.clone(), user.password.clone());
        let request = AuthenticateRequest { name, password };
        let answer: AuthenticateResponse =
            attempt.unary("/etcdserverpb.Auth/Authenticate", request).await?;
        let token = MetadataValue::try_from(answer.token)
            .map_err(|_| EtcdError::Rejected("the token of the session is not ASCII".into()))?;
        *self.shared.token.lock() = Some(token.clone());
        Ok(Some(token))
    }
}

// === impl Attempts ===

impl<'a> Attempts<'a> {
    fn new(client: &'a EtcdClient, repeat: Repeat) -> Self {
        Self { client, repeat, until: Instant::now() + CALL, unreachable: 0, renewed: false }
    }

    /// Begins an attempt at the endpoint in use.
    async fn begin(&mut self) -> Result<Attempt, EtcdError> {
        loop {
            let (failovers, (url, channel)) = self.client.current();
            let (url, channel) = (url.clone(), channel.clone());
            let deadline = self.until.min(Instant::now() + ATTEMPT);
            let attempt = Attempt { failovers, url, channel, token: None, deadline };
            match self.client.token(&attempt).await {
                Ok(token) => {
                    // The creation of a session does not count.
                    let deadline = self.until.min(Instant::now() + ATTEMPT);
                    return Ok(Attempt { token, deadline, ..attempt });
                }
                Err(error) => self.failed(&attempt, error)?,
            }
        }
    }

    /// Returns the error unless another attempt may succeed.
    fn failed(&mut self, attempt: &Attempt, error: EtcdError) -> Result<(), EtcdError> {
        if matches!(error, EtcdError::InvalidToken(_)) && !self.renewed {
            self.renewed = true;
            let mut token = self.client.shared.token.lock();
            // Unless another call has renewed it since.
            token.take_if(|token| attempt.token.as_ref() == Some(token));
            return Ok(());
        }
        if !error.is_unreachable() {
            return Err(error);
        }
        self.client.fail_over(attempt.failovers);
        self.unreachable += 1;
        // One more than the endpoints: after a restart of etcd, the first attempt may use the old connection.
        let may_repeat = self.repeat == Repeat::Safe
            && self.unreachable <= self.client.shared.endpoints.len()
            && Instant::now() < self.until;
        if may_repeat { Ok(()) } else { Err(error) }
    }
}

// === impl Attempt ===

impl Attempt {
    async fn unary<Q, A>(&self, method: &'static str, request: Q) -> Result<A, EtcdError>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = self.grpc();
        let mut request = Request::new(request);
        self.attach_token(&mut request);
        self.within(async {
            ready(&mut grpc).await?;
            let path = PathAndQuery::from_static(method);
            Ok(grpc.unary(request, path, ProstCodec::default()).await?.into_inner())
        })
        .await
    }

    async fn stream<Q, A>(
        &self,
        method: &'static str,
        first: Q,
    ) -> Result<OpenStream<Q, A>, EtcdError>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = self.grpc();
        let (requests, queue) = mpsc::channel(1);
        _ = requests.try_send(first);
        let mut request = Request::new(ReceiverStream::new(queue));
        self.attach_token(&mut request);
        request.metadata_mut().insert(HAS_LEADER, MetadataValue::from_static("true"));
        self.within(async {
            ready(&mut grpc).await?;
            let path = PathAndQuery::from_static(method);
            let response = grpc.streaming(request, path, ProstCodec::default()).await?;
            let mut responses: Streaming<A> = response.into_inner();
            let first = responses.message().await?;
            let first = first.ok_or_else(|| Status::unavailable("the stream ended at once"))?;
            Ok(OpenStream { url: self.url.clone(), first, responses, requests })
        })
        .await
    }

    fn grpc(&self) -> Grpc<Channel> {
        Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_RESPONSE)
    }

    fn attach_token<T>(&self, request: &mut Request<T>) {
        if let Some(token) = self.token.clone() {
            request.metadata_mut().insert(TOKEN, token);
        }
    }

    async fn within<T>(
        &self,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, EtcdError> {
        match timeout_at(self.deadline, call).await {
            Ok(result) => result.map_err(|status| EtcdError::from_status(&self.url, &status)),
            Err(_) => Err(self.timeout()),
        }
    }

    fn timeout(&self) -> EtcdError {
        EtcdError::Timeout { url: self.url.clone(), within: ATTEMPT }
    }
}

async fn ready(grpc: &mut Grpc<Channel>) -> Result<(), Status> {
    grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))
}
