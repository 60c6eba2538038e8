//! Keeps the registry in step with what is to be known of the service.

use std::time::Duration;

use portolan_client::{RegistryClient, RegistryClientError};
use portolan_core::{Backoff, HealthReport, Registration, ServiceEndpoint};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::rhythm::{interval, next_retry, retry_backoff, with_jitter};

/// How long one request may take: a registry answers within milliseconds, and a heartbeat that
/// hangs must not use up the time of the next.
const REQUEST: Duration = Duration::from_secs(2);

/// The link from one service to one registry.
#[derive(Debug)]
pub(crate) struct RegistryLink {
    client: RegistryClient,
    desired: watch::Receiver<ServiceEndpoint>,
    /// The maximum heartbeat interval.
    heartbeat: Duration,
    /// Whether the service's health is checked here. Where it is not, somebody else may do so,
    /// and is not to be contradicted.
    owns_health: bool,
    entered: Option<Entered>,
    backoff: Backoff,
    lost: bool,
}

/// What the registry has.
#[derive(Debug)]
struct Entered {
    registration: Registration,
    health: HealthReport,
}

// === impl RegistryLink ===

impl RegistryLink {
    pub(crate) fn new(
        client: RegistryClient,
        desired: watch::Receiver<ServiceEndpoint>,
        heartbeat: Duration,
        owns_health: bool,
    ) -> Self {
        Self {
            client: client.with_timeout(REQUEST),
            desired,
            heartbeat,
            owns_health,
            entered: None,
            backoff: retry_backoff(),
            lost: false,
        }
    }

    /// Brings the registry in step once. With `beat`, sends a heartbeat in any case.
    pub(crate) async fn reconcile(&mut self, beat: bool) -> Result<(), RegistryClientError> {
        let desired = self.desired.borrow_and_update().clone();
        match self.tell(&desired, beat).await {
            Err(RegistryClientError::UnknownService { id }) => {
                info!(service_id = %id, "The registry does not know the service, registering again");
                self.entered = None;
                self.tell(&desired, false).await
            }
            told => told,
        }
    }

    /// Keeps the registry in step until told to stop, and cuts no request off. `begun` is how the
    /// first attempt ended.
    pub(crate) async fn run(
        &mut self,
        mut begun: Result<(), RegistryClientError>,
        stopping: &CancellationToken,
    ) {
        loop {
            let due = Instant::now() + self.wait_after(begun);
            let beat = tokio::select! {
                () = stopping.cancelled() => return,
                () = sleep_until(due) => true,
                Ok(()) = self.desired.changed() => false,
            };
            // After a failure the state of the registry is unknown; a heartbeat reveals it.
            begun = self.reconcile(beat || self.lost).await;
        }
    }

    /// Takes the service out, as far as that goes until the deadline.
    pub(crate) async fn withdraw(&self, deadline: Instant) {
        // Also where nothing is known to be entered: a request without an answer may have arrived.
        let id = self.desired.borrow().id.clone();
        match timeout_at(deadline, self.client.deregister(&id)).await {
            Ok(Ok(())) => info!(service_id = %id, "Service deregistered"),
            Ok(Err(RegistryClientError::UnknownService { .. })) => {
                debug!(service_id = %id, "The registry had forgotten the service already");
            }
            Ok(Err(error)) if self.entered.is_none() => {
                debug!(service_id = %id, %error, "No registry had the service");
            }
            Ok(Err(error)) => warn!(
                service_id = %id, %error,
                "Service not deregistered, the registry drops it at the end of its TTL"
            ),
            Err(_) => warn!(
                service_id = %id, url = self.client.url(),
                "Service not deregistered in time, the registry drops it at the end of its TTL"
            ),
        }
    }

    async fn tell(
        &mut self,
        desired: &ServiceEndpoint,
        beat: bool,
    ) -> Result<(), RegistryClientError> {
        let registration = Registration::from(desired.clone());
        let current = self.entered.as_ref().is_some_and(|e| e.registration == registration);
        if !current {
            self.register(registration).await?;
        } else if beat {
            self.client.heartbeat(&desired.id).await?;
        }
        self.tell_health(desired).await
    }

    async fn register(&mut self, registration: Registration) -> Result<(), RegistryClientError> {
        let registered = self.client.register(&registration).await?;
        let endpoint = registered.endpoint;
        info!(
            service_name = %endpoint.name, service_id = %endpoint.id, port = endpoint.port,
            protocol = %endpoint.protocol, created = registered.created, "Service registered"
        );
        let health = HealthReport::new(endpoint.health, endpoint.health_reason);
        self.entered = Some(Entered { registration, health });
        Ok(())
    }

    async fn tell_health(&mut self, desired: &ServiceEndpoint) -> Result<(), RegistryClientError> {
        let health = HealthReport::new(desired.health, desired.health_reason.as_str());
        let Some(entered) = self.entered.as_mut().filter(|_| self.owns_health) else {
            return Ok(());
        };
        if entered.health != health {
            self.client.update_health(&desired.id, &health).await?;
            entered.health = health;
        }
        Ok(())
    }

    fn wait_after(&mut self, outcome: Result<(), RegistryClientError>) -> Duration {
        let interval = interval(self.heartbeat, self.desired.borrow().ttl);
        let was_lost = std::mem::replace(&mut self.lost, outcome.is_err());
        match outcome {
            Ok(()) => {
                if was_lost {
                    info!(url = self.client.url(), "The registry is back");
                }
                self.backoff.reset();
                with_jitter(interval)
            }
            Err(error) => {
                if was_lost {
                    debug!(%error, "The registry is still not in step");
                } else if self.entered.is_none() {
                    // Nothing is lost yet, and where there is no registry nothing ever will be.
                    info!(%error, "The registry does not have the service yet, trying again");
                } else {
                    warn!(%error, "Lost touch with the registry, trying again");
                }
                match error.is_temporary() {
                    true => next_retry(&mut self.backoff, interval),
                    // Nothing is gained by asking sooner, but an operator may mend it.
                    false => with_jitter(interval),
                }
            }
        }
    }
}
