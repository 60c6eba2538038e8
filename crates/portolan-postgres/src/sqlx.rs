//! A pool of sqlx that follows the instances of a service.
//!
//! A pool of sqlx connects to one address at a time, which can be changed. A task looks for the server and sets its address;
//! connections to any other server, or to an earlier run of this one, are closed before they are used.

mod connector;
mod follow;
mod nowhere;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use portolan_client::ServiceInstances;
use portolan_core::ServiceEndpoint;
use portolan_database::{DatabaseServers, NoServer, ServerOptions};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use connector::SqlxConnector;
use follow::Followed;

/// A pool of sqlx whose connections lead to a server of the service in a role. It dereferences to the [`PgPool`].
///
/// ```no_run
/// # async fn example(client: portolan_client::DiscoveryClient) -> Result<(), Box<dyn std::error::Error>> {
/// use portolan_postgres::{ServerOptions, SqlxPool, TargetRole};
/// use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
///
/// let instances = client.instances("orders-db").await?;
/// let session = PgConnectOptions::new_without_pgpass().username("orders").database("orders");
/// let options = ServerOptions::new(TargetRole::Primary);
/// let pool = SqlxPool::connect(instances, session, PgPoolOptions::new(), options).await?;
/// sqlx::query("INSERT INTO visits VALUES (now())").execute(&*pool).await?;
/// pool.close().await;
/// # Ok(()) }
/// ```
pub struct SqlxPool {
    pool: PgPool,
    followed: Arc<Followed>,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

// === impl SqlxPool ===

impl SqlxPool {
    /// Connects with this user, database, password and TLS; the server in the options of sqlx is replaced by the instance that is
    /// found. The hooks `after_connect` and `before_acquire` of the pool are replaced, and `test_before_acquire` is turned off:
    /// each connection is checked by a query of its own before it is reused. A session of the task that follows the service is
    /// open besides those of the pool.
    ///
    /// # Errors
    ///
    /// If there is no server in the role within the acquire timeout of the server options. A later acquisition waits for as long
    /// as the options of the pool say.
    pub async fn connect(
        instances: ServiceInstances,
        session: PgConnectOptions,
        pool: PgPoolOptions,
        options: ServerOptions,
    ) -> Result<Self, NoServer> {
        let servers = DatabaseServers::new(instances, SqlxConnector::new(session.clone()), options);
        let (followed, first) = Followed::start(servers, session).await?;
        let pool = followed.guard(pool).connect_lazy_with(followed.options(&first.endpoint));
        let stop = CancellationToken::new();
        let follow = Arc::clone(&followed).follow(first, pool.clone());
        let stopped = stop.clone();
        let task =
            tokio::spawn(async move { stopped.run_until_cancelled(follow).await.unwrap_or(()) });
        Ok(Self { pool, followed, stop, task: Some(task) })
    }

    /// Returns the instance to which new connections lead; `None` while one is looked for.
    pub fn endpoint(&self) -> Option<Arc<ServiceEndpoint>> {
        self.followed.endpoint()
    }

    /// Closes the pool and waits for its connections, and ends the task.
    pub async fn close(mut self) {
        self.stop.cancel();
        self.pool.close().await;
        if let Some(task) = self.task.take() {
            // A task that panicked has ended as well.
            drop(task.await);
        }
    }
}

impl Deref for SqlxPool {
    type Target = PgPool;
    fn deref(&self) -> &PgPool {
        &self.pool
    }
}

impl Drop for SqlxPool {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl fmt::Debug for SqlxPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.endpoint().map(|endpoint| endpoint.address());
        f.debug_struct("SqlxPool").field("address", &address).finish_non_exhaustive()
    }
}
