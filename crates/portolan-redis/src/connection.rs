//! A connection that leads to a server in the role, whichever that is at the moment.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use portolan_client::ServiceInstances;
use portolan_core::{Remedy as _, ServiceEndpoint};
use portolan_database::{Connected, DatabaseServers, NoServer, ServerOptions, TargetRole};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, ServerErrorKind, Value};
use tokio::time::Instant;
use tracing::debug;

use crate::RedisSettings;
use crate::connector::RedisConnector;
use crate::link::Link;

/// How long what a server said of its role counts while the connection is used.
const ROLE_COUNTS: Duration = Duration::from_secs(1);

/// A connection to a server of the service in a role. Clones share one connection, on which their commands are multiplexed, so no
/// pool is needed; commands that block, transactions by `WATCH` and subscriptions need a connection of their own.
///
/// ```no_run
/// # async fn example(client: portolan_client::DiscoveryClient) -> Result<(), Box<dyn std::error::Error>> {
/// use portolan_redis::{RedisConnection, RedisSettings, ServerOptions, TargetRole};
///
/// let instances = client.instances("sessions").await?;
/// let options = ServerOptions::new(TargetRole::Primary);
/// let mut connection = RedisConnection::new(instances, RedisSettings::default(), options);
/// let visits: u64 = redis::cmd("INCR").arg("visits").query_async(&mut connection).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RedisConnection(Arc<Shared>);

struct Shared {
    servers: DatabaseServers<RedisConnector>,
    target: TargetRole,
    database: i64,
    live: Mutex<Option<Live>>,
    /// How many connections there have been.
    opened: AtomicU64,
    /// One task at a time connects or checks.
    connecting: tokio::sync::Mutex<()>,
}

/// The connection in use.
#[derive(Clone)]
struct Live {
    link: Link,
    endpoint: Arc<ServiceEndpoint>,
    checked: Instant,
    number: u64,
}

// === impl RedisConnection ===

impl RedisConnection {
    /// Uses one of the instances in the role that the options say. Connects by its first command.
    pub fn new(
        instances: ServiceInstances,
        settings: RedisSettings,
        options: ServerOptions,
    ) -> Self {
        let (target, database) = (options.target(), settings.session.db());
        let servers = DatabaseServers::new(instances, RedisConnector(settings), options);
        let (live, connecting) = (Mutex::default(), tokio::sync::Mutex::default());
        let opened = AtomicU64::new(0);
        Self(Arc::new(Shared { servers, target, database, live, opened, connecting }))
    }

    /// Returns the instance to which the connection leads at the moment; connects if it is not connected.
    ///
    /// # Errors
    ///
    /// If there is no server in the role within the acquire timeout.
    pub async fn endpoint(&self) -> Result<Arc<ServiceEndpoint>, NoServer> {
        self.0.live().await.map(|live| live.endpoint)
    }

    /// Sends something that a server refuses as a whole if it is no primary; then, once more to the next primary.
    async fn send<T, F>(
        &self,
        is_safe: bool,
        send: impl Fn(MultiplexedConnection) -> F,
    ) -> Result<T, RedisError>
    where
        F: Future<Output = (Result<T, RedisError>, bool)>,
    {
        let mut is_first = true;
        loop {
            let live = self.0.live().await.map_err(|error| no_server(&error))?;
            let (result, is_read_only) = send(live.link.connection.clone()).await;
            if is_read_only && self.0.target == TargetRole::Primary {
                debug!(address = live.endpoint.address(), "Redis is no primary any more");
                self.0.forget(&live);
                if std::mem::take(&mut is_first) && is_safe {
                    continue;
                }
            }
            if let Err(error) = &result {
                self.0.on_error(&live, error);
            }
            return result;
        }
    }
}

impl ConnectionLike for RedisConnection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(self.send(true, move |mut connection: MultiplexedConnection| async move {
            let result = connection.req_packed_command(command).await;
            let is_read_only = match &result {
                Ok(Value::ServerError(error)) => error.kind() == Some(ServerErrorKind::ReadOnly),
                Ok(_) => false,
                Err(error) => is_read_only(error),
            };
            (result, is_read_only)
        }))
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        // Commands before the refused one may have been executed, unless it is one transaction.
        Box::pin(self.send(false, move |mut connection: MultiplexedConnection| async move {
            let result = connection.req_packed_commands(pipeline, offset, count).await;
            let is_refused = |value: &Value| match value {
                Value::ServerError(error) => error.kind() == Some(ServerErrorKind::ReadOnly),
                _ => false,
            };
            let is_read_only = match &result {
                Ok(values) => values.iter().any(is_refused),
                Err(error) => is_read_only(error),
            };
            (result, is_read_only)
        }))
    }

    fn get_db(&self) -> i64 {
        self.0.database
    }
}

impl fmt::Debug for RedisConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.0.live.lock().as_ref().map(|live| live.endpoint.address());
        f.debug_struct("RedisConnection")
            .field("service", self.0.servers.instances().name())
            .field("address", &address)
            .finish_non_exhaustive()
    }
}

// === impl Shared ===

impl Shared {
    /// Returns the connection in use if it may be used still, else one to the next server.
    async fn live(&self) -> Result<Live, NoServer> {
        if let Some(live) = self.recent() {
            return Ok(live);
        }
        let _only = self.connecting.lock().await;
        if let Some(live) = self.recent() {
            return Ok(live);
        }
        let former = self.live.lock().take();
        if let Some(mut live) = former {
            match self.servers.check(&live.endpoint, &mut live.link).await {
                Ok(()) => {
                    live.checked = Instant::now();
                    return Ok(self.live.lock().insert(live).clone());
                }
                Err(reason) => {
                    debug!(address = live.endpoint.address(), %reason, "Connection to Redis not used any more");
                }
            }
        }
        let Connected { endpoint, connection: link } = self.servers.connect().await?;
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let live = Live { link, endpoint, checked: Instant::now(), number };
        Ok(self.live.lock().insert(live).clone())
    }

    /// Returns the connection in use if its server was asked recently, and is one of the service.
    fn recent(&self) -> Option<Live> {
        let live = self.live.lock().clone()?;
        let is_recent = live.checked.elapsed() < ROLE_COUNTS && !live.link.has_ended();
        (is_recent && self.servers.is_known(&live.endpoint)).then_some(live)
    }

    /// Gives the connection up, unless another one is in use by now.
    fn forget(&self, former: &Live) {
        self.change(former, |live| *live = None);
    }

    fn on_error(&self, used: &Live, error: &RedisError) {
        if error.is_timeout() {
            // The command may have been slow, or the server does not answer: it is asked before the next one.
            let long_ago = Instant::now().checked_sub(ROLE_COUNTS);
            self.change(used, |live| match (live.as_mut(), long_ago) {
                (Some(live), Some(long_ago)) => live.checked = long_ago,
                _ => *live = None,
            });
        } else if error.is_unrecoverable_error() || error.is_io_error() {
            self.forget(used);
        }
    }

    fn change(&self, used: &Live, change: impl FnOnce(&mut Option<Live>)) {
        let mut live = self.live.lock();
        if live.as_ref().is_some_and(|live| live.number == used.number) {
            change(&mut live);
        }
    }
}

fn is_read_only(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
}

fn no_server(error: &NoServer) -> RedisError {
    (ErrorKind::Io, "no server to connect to", error.with_remedy()).into()
}
