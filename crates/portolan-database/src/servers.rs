//! The servers of one service, and the search for one that can be used.

use std::sync::Arc;
use std::time::Duration;

use portolan_client::ServiceInstances;
use portolan_core::{Backoff, ServiceEndpoint};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, info};

use crate::cluster::Cluster;
use crate::{
    ConnectError, Connector, NoServer, ServerFacts, ServerOptions, TargetRole, UnusableServer,
};

/// The shortest and the longest wait after every instance was tried in vain. A change of the instances ends it.
const RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// How many instances an error names.
const NAMED: usize = 8;

/// The servers of one service, of which one in a role is used.
#[derive(Debug)]
pub struct DatabaseServers<C> {
    instances: ServiceInstances,
    connector: C,
    target: TargetRole,
    cluster: Cluster,
    acquire_timeout: Duration,
    attempt_timeout: Duration,
}

/// A connection to a server in the role, and the instance that it is.
#[derive(Debug)]
pub struct Connected<T> {
    /// The instance.
    pub endpoint: Arc<ServiceEndpoint>,
    /// The connection to it.
    pub connection: T,
}

// === impl DatabaseServers ===

impl<C: Connector> DatabaseServers<C> {
    /// Uses one of the instances, in the role that the options say.
    pub fn new(instances: ServiceInstances, connector: C, options: ServerOptions) -> Self {
        let ServerOptions { target, cluster, acquire_timeout, attempt_timeout } = options;
        let cluster = Cluster::new(cluster);
        Self { instances, connector, target, cluster, acquire_timeout, attempt_timeout }
    }

    /// The instances of the service.
    pub fn instances(&self) -> &ServiceInstances {
        &self.instances
    }

    /// How long one server may take to answer.
    pub fn attempt_timeout(&self) -> Duration {
        self.attempt_timeout
    }

    /// Connects to a server in the role, and waits for one if there is none.
    ///
    /// # Errors
    ///
    /// If there is none within the acquire timeout; the error says what each instance answered.
    pub async fn connect(&self) -> Result<Connected<C::Connection>, NoServer> {
        let deadline = Instant::now() + self.acquire_timeout;
        let (mut changes, mut failures) = (self.instances.changes(), Vec::new());
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        loop {
            changes.mark_unchanged();
            let mut tried = Vec::new();
            let found = timeout_at(deadline, self.try_all(&mut tried)).await;
            if !tried.is_empty() || failures.is_empty() {
                failures = tried;
            }
            match found {
                Ok(Some(connected)) => return Ok(connected),
                Ok(None) if Instant::now() < deadline => {}
                Ok(None) | Err(_) => return Err(self.no_server(failures, false)),
            }
            // So that changes in quick succession do not make this a busy loop.
            sleep(RETRY.0.min(deadline.duration_since(Instant::now()))).await;
            let next = deadline.min(Instant::now() + backoff.next_wait());
            if let Ok(Err(_)) = timeout_at(next, changes.changed()).await {
                return Err(self.no_server(failures, true));
            }
        }
    }

    /// Checks that the connection can be used again: its instance is one of the service still, and the server has the role and
    /// the data.
    ///
    /// # Errors
    ///
    /// If it cannot; the connection must be closed.
    pub async fn check(
        &self,
        endpoint: &ServiceEndpoint,
        connection: &mut C::Connection,
    ) -> Result<(), UnusableServer> {
        self.check_known(endpoint)?;
        let limit = self.attempt_timeout;
        let facts = timeout(limit, self.connector.ask(connection, self.cluster.is_needed())).await;
        let facts =
            facts.map_err(|_| UnusableServer::TimedOut(limit))?.map_err(UnusableServer::from)?;
        self.accept(&facts)
    }

    /// Whether the instance is one of the service still, at the same address and in the same run.
    pub fn is_known(&self, endpoint: &ServiceEndpoint) -> bool {
        self.check_known(endpoint).is_ok()
    }

    /// Says that the server could not be reached: it is avoided for a while, and the registry asks it.
    pub fn report_failure(&self, endpoint: &ServiceEndpoint) {
        self.instances.report_failure(endpoint);
    }

    fn check_known(&self, endpoint: &ServiceEndpoint) -> Result<(), UnusableServer> {
        let is_same = |known: &Arc<ServiceEndpoint>| {
            (&known.id, &known.host, known.port, known.incarnation)
                == (&endpoint.id, &endpoint.host, endpoint.port, endpoint.incarnation)
        };
        match self.instances.all().iter().any(is_same) {
            true => Ok(()),
            false => Err(UnusableServer::Gone),
        }
    }

    /// Tries every instance once, those first that are usable and have the role by their metadata.
    async fn try_all(
        &self,
        failures: &mut Vec<(String, UnusableServer)>,
    ) -> Option<Connected<C::Connection>> {
        let mut second_best = None;
        for endpoint in self.candidates() {
            match self.try_one(&endpoint).await {
                Ok((connection, facts)) => {
                    let connected = Connected { endpoint, connection };
                    if self.target.is_best(&facts) {
                        return Some(connected);
                    }
                    second_best.get_or_insert(connected);
                }
                Err(reason) => {
                    debug!(address = endpoint.address(), %reason, "Server not used");
                    if failures.len() < NAMED {
                        failures.push((endpoint.address(), reason));
                    }
                }
            }
        }
        second_best
    }

    fn candidates(&self) -> Vec<Arc<ServiceEndpoint>> {
        let usable = self.instances.current();
        let mut all = self.instances.all();
        let is_usable = |one: &ServiceEndpoint| usable.iter().any(|usable| usable.id == one.id);
        all.sort_by_key(|one| (!is_usable(one), self.target.expectation(one)));
        all
    }

    async fn try_one(
        &self,
        endpoint: &Arc<ServiceEndpoint>,
    ) -> Result<(C::Connection, ServerFacts), UnusableServer> {
        let limit = self.attempt_timeout;
        let opened = timeout(limit, self.open(endpoint)).await;
        let opened = opened.unwrap_or(Err(UnusableServer::TimedOut(limit)));
        if matches!(opened, Err(UnusableServer::Unreachable(_) | UnusableServer::TimedOut(_))) {
            self.report_failure(endpoint);
        }
        let (connection, facts) = opened?;
        // Its address may have been given to another server while it was asked.
        self.check_known(endpoint)?;
        self.accept(&facts)?;
        info!(service_name = %endpoint.name, address = endpoint.address(), is_standby = facts.is_standby, "Connected");
        Ok((connection, facts))
    }

    async fn open(
        &self,
        endpoint: &ServiceEndpoint,
    ) -> Result<(C::Connection, ServerFacts), UnusableServer> {
        let mut connection = self.connector.connect(&endpoint.host, endpoint.port).await?;
        let facts = self.connector.ask(&mut connection, self.cluster.is_needed()).await?;
        Ok((connection, facts))
    }

    /// Whether the identity of a server's data matters.
    pub fn needs_cluster(&self) -> bool {
        self.cluster.is_needed()
    }

    /// Checks that a server which says this of itself has the role and the data.
    ///
    /// # Errors
    ///
    /// If it has not.
    pub fn accept(&self, facts: &ServerFacts) -> Result<(), UnusableServer> {
        if !self.target.accepts(facts) {
            return Err(UnusableServer::Role(match facts {
                ServerFacts { is_standby: true, .. } => "a standby",
                ServerFacts { is_writable: false, .. } => "read-only",
                _ => "a primary",
            }));
        }
        self.cluster.check(facts.cluster.as_deref()).map_err(UnusableServer::AnotherCluster)
    }

    fn no_server(&self, failures: Vec<(String, UnusableServer)>, is_closed: bool) -> NoServer {
        let (name, limit) = (self.instances.name().clone(), self.acquire_timeout);
        NoServer { name, target: self.target, limit, failures, is_closed }
    }
}

// === impl UnusableServer ===

impl From<ConnectError> for UnusableServer {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Unreachable(reason) => Self::Unreachable(reason),
            ConnectError::Refused(reason) => Self::Refused(reason),
        }
    }
}
