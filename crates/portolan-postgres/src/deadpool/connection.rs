//! A connection of the pool.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use portolan_core::ServiceEndpoint;
use tokio_postgres::Client;

/// A connection to one instance of the service. It dereferences to the [`Client`] of tokio-postgres.
pub struct PostgresConnection {
    client: Client,
    endpoint: Arc<ServiceEndpoint>,
}

// === impl PostgresConnection ===

impl PostgresConnection {
    pub(super) fn new(client: Client, endpoint: Arc<ServiceEndpoint>) -> Self {
        Self { client, endpoint }
    }

    /// Returns the instance that the connection leads to.
    pub fn endpoint(&self) -> &Arc<ServiceEndpoint> {
        &self.endpoint
    }

    pub(super) fn parts(&mut self) -> (&mut Client, Arc<ServiceEndpoint>) {
        (&mut self.client, Arc::clone(&self.endpoint))
    }
}

impl Deref for PostgresConnection {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for PostgresConnection {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl fmt::Debug for PostgresConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresConnection").field(&self.endpoint.address()).finish()
    }
}
