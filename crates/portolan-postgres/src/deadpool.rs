//! A manager of tokio-postgres connections for deadpool.

mod connection;
mod connector;

use std::fmt;

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use portolan_client::ServiceInstances;
use portolan_database::{DatabaseServers, NoServer, ServerOptions};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Config, NoTls, Socket};
use tokio_util::task::TaskTracker;

pub use connection::PostgresConnection;

use connector::PostgresConnector;

/// Opens connections to a server of the service in a role, and checks each before it is reused.
///
/// ```no_run
/// # async fn example(client: portolan_client::DiscoveryClient) -> Result<(), Box<dyn std::error::Error>> {
/// use deadpool::managed::Pool;
/// use portolan_postgres::{PostgresManager, ServerOptions, TargetRole};
///
/// let instances = client.instances("orders-db").await?;
/// let mut config = tokio_postgres::Config::new();
/// config.user("orders").dbname("orders");
/// let manager = PostgresManager::new(instances, config, ServerOptions::new(TargetRole::Primary))?;
/// let pool: Pool<PostgresManager> = Pool::builder(manager).max_size(8).build()?;
/// let row = pool.get().await?.query_one("SELECT 1", &[]).await?;
/// # Ok(()) }
/// ```
pub struct PostgresManager<T = NoTls>
where
    T: MakeTlsConnect<Socket>,
{
    servers: DatabaseServers<PostgresConnector<T>>,
    /// The tasks that drive the connections. Each ends with its connection.
    tasks: TaskTracker,
}

/// The configuration names a server, which Portolan is to find. Retrying does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the configuration of tokio-postgres names {0} host(s); leave `host`, `hostaddr` and `port` out: the instances of the service are used"
)]
pub struct InvalidConfig(usize);

// === impl PostgresManager ===

impl PostgresManager<NoTls> {
    /// Connects without TLS, with this user, database and password. The configuration names no server.
    ///
    /// # Errors
    ///
    /// If the configuration names a server.
    pub fn new(
        instances: ServiceInstances,
        config: Config,
        options: ServerOptions,
    ) -> Result<Self, InvalidConfig> {
        Self::with_tls(instances, config, NoTls, options)
    }
}

impl<T> PostgresManager<T>
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send + Sync,
    T::TlsConnect: Send + Sync,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    /// Connects as this connector of tokio-postgres does, if `sslmode` of the configuration wants TLS.
    ///
    /// # Errors
    ///
    /// If the configuration names a server.
    pub fn with_tls(
        instances: ServiceInstances,
        config: Config,
        tls: T,
        options: ServerOptions,
    ) -> Result<Self, InvalidConfig> {
        let hosts = config.get_hosts().len().max(config.get_hostaddrs().len());
        if hosts > 0 || !config.get_ports().is_empty() {
            return Err(InvalidConfig(hosts));
        }
        let tasks = TaskTracker::new();
        let connector = PostgresConnector::new(config, tls, tasks.clone());
        Ok(Self { servers: DatabaseServers::new(instances, connector, options), tasks })
    }

    /// Waits until every connection has ended, after the pool was closed and its objects were dropped.
    pub async fn closed(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl<T> Manager for PostgresManager<T>
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send + Sync,
    T::TlsConnect: Send + Sync,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    type Type = PostgresConnection;
    type Error = NoServer;

    async fn create(&self) -> Result<PostgresConnection, NoServer> {
        let connected = self.servers.connect().await?;
        Ok(PostgresConnection::new(connected.connection, connected.endpoint))
    }

    async fn recycle(
        &self,
        connection: &mut PostgresConnection,
        _: &Metrics,
    ) -> RecycleResult<NoServer> {
        if connection.is_closed() {
            return Err(RecycleError::message("the connection is closed"));
        }
        let (client, endpoint) = connection.parts();
        let checked = self.servers.check(&endpoint, client).await;
        checked.map_err(|reason| RecycleError::message(reason.to_string()))
    }
}

impl<T: MakeTlsConnect<Socket>> fmt::Debug for PostgresManager<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresManager")
            .field("connections", &self.tasks.len())
            .finish_non_exhaustive()
    }
}
