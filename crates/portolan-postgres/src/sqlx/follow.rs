//! The server that a pool uses, and the task that follows it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use portolan_core::{Host, Remedy as _, ServiceEndpoint};
use portolan_database::{Connected, DatabaseServers, NoServer, UnusableServer};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Error, PgConnection, PgPool};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::connector::{SqlxConnector, at, identify};
use super::nowhere::Nowhere;

/// The longest time between two questions to the server.
const INTERVAL: Duration = Duration::from_secs(1);
/// The pause after a search that found none.
const REST: Duration = Duration::from_millis(100);

/// What the task and the hooks of the pool share.
#[derive(Debug)]
pub(super) struct Followed {
    servers: DatabaseServers<SqlxConnector>,
    session: PgConnectOptions,
    /// The server in use; `None` while one is looked for.
    current: Mutex<Option<Current>>,
    /// Tells the task that a connection was not usable.
    doubt: Notify,
}

/// One run of one server.
#[derive(Debug, Clone)]
struct Current {
    endpoint: Arc<ServiceEndpoint>,
    cluster: Option<String>,
    started: String,
}

// === impl Followed ===

impl Followed {
    /// Looks for the first server.
    pub(super) async fn start(
        servers: DatabaseServers<SqlxConnector>,
        session: PgConnectOptions,
    ) -> Result<(Arc<Self>, Connected<PgConnection>), NoServer> {
        let (current, doubt) = (Mutex::default(), Notify::new());
        let followed = Arc::new(Self { servers, session, current, doubt });
        loop {
            let mut connected = followed.servers.connect().await?;
            if followed.use_from_now_on(&mut connected).await.is_ok() {
                return Ok((followed, connected));
            }
        }
    }

    pub(super) fn endpoint(&self) -> Option<Arc<ServiceEndpoint>> {
        self.current.lock().as_ref().map(|current| Arc::clone(&current.endpoint))
    }

    pub(super) fn options(&self, endpoint: &ServiceEndpoint) -> PgConnectOptions {
        at(&self.session, &endpoint.host, endpoint.port)
    }

    /// Has the pool check each connection.
    pub(super) fn guard(self: &Arc<Self>, pool: PgPoolOptions) -> PgPoolOptions {
        let (opened, reused) = (Arc::clone(self), Arc::clone(self));
        pool.test_before_acquire(false)
            .after_connect(move |connection, _| {
                let followed = Arc::clone(&opened);
                Box::pin(async move {
                    let checked = followed.check(connection).await;
                    checked.map_err(|reason| Error::Protocol(reason.to_string()))
                })
            })
            .before_acquire(move |connection, _| {
                let followed = Arc::clone(&reused);
                Box::pin(async move {
                    let checked = followed.check(connection).await;
                    Ok(checked
                        .inspect_err(|reason| debug!(%reason, "Connection not reused"))
                        .is_ok())
                })
            })
    }

    /// Checks that a connection of the pool leads to the server in use, in the role.
    async fn check(&self, connection: &mut PgConnection) -> Result<(), UnusableServer> {
        let checked = self.check_current(connection).await;
        if checked.is_err() {
            self.doubt.notify_one();
        }
        checked
    }

    async fn check_current(&self, connection: &mut PgConnection) -> Result<(), UnusableServer> {
        let (facts, started) = self.identify(connection).await?;
        self.servers.accept(&facts)?;
        let current = self.current.lock().clone();
        let is_current = |current: &Current| {
            (&current.started, &current.cluster) == (&started, &facts.cluster)
                && self.servers.is_known(&current.endpoint)
        };
        match current.is_some_and(|current| is_current(&current)) {
            true => Ok(()),
            false => Err(UnusableServer::Gone),
        }
    }

    async fn identify(
        &self,
        connection: &mut PgConnection,
    ) -> Result<(portolan_database::ServerFacts, String), UnusableServer> {
        let limit = self.servers.attempt_timeout();
        let answer = timeout(limit, identify(connection, self.servers.needs_cluster())).await;
        let answer = answer.map_err(|_| UnusableServer::TimedOut(limit))?;
        answer.map_err(|error| UnusableServer::Unreachable(error.to_string()))
    }

    /// Follows the server as long as it has the role, then looks for the next one.
    pub(super) async fn follow(
        self: Arc<Self>,
        mut connected: Connected<PgConnection>,
        pool: PgPool,
    ) {
        loop {
            self.watch(&mut connected).await;
            *self.current.lock() = None;
            // The former address may belong to another server by now.
            let nowhere = Nowhere::reserve().ok();
            if let Some(nowhere) = &nowhere {
                pool.set_connect_options(at(&self.session, &Host::loopback(), nowhere.port()));
            }
            connected = self.next().await;
            pool.set_connect_options(self.options(&connected.endpoint));
        }
    }

    /// Waits until the server cannot be used any more.
    async fn watch(&self, connected: &mut Connected<PgConnection>) {
        let mut changes = self.servers.instances().changes();
        loop {
            let checked = self.servers.check(&connected.endpoint, &mut connected.connection).await;
            if let Err(reason) = checked {
                let address = connected.endpoint.address();
                return warn!(address, %reason, "PostgreSQL not used any more");
            }
            tokio::select! {
                () = sleep(INTERVAL) => {}
                () = self.doubt.notified() => {}
                Ok(()) = changes.changed() => {}
            }
        }
    }

    async fn next(&self) -> Connected<PgConnection> {
        loop {
            match self.servers.connect().await {
                Ok(mut connected) => match self.use_from_now_on(&mut connected).await {
                    Ok(()) => return connected,
                    Err(reason) => debug!(%reason, "PostgreSQL was lost at once"),
                },
                Err(error) => warn!(error = error.with_remedy(), "No PostgreSQL to use"),
            }
            sleep(REST).await;
        }
    }

    /// Has the pool accept connections to this run of the server.
    async fn use_from_now_on(
        &self,
        connected: &mut Connected<PgConnection>,
    ) -> Result<(), UnusableServer> {
        let (facts, started) = self.identify(&mut connected.connection).await?;
        let endpoint = Arc::clone(&connected.endpoint);
        *self.current.lock() = Some(Current { endpoint, cluster: facts.cluster, started });
        Ok(())
    }
}
