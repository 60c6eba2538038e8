//! Reconciles the registry with the desired state of the service.

use std::iter;
use std::time::Duration;

use portolan_client::{RegistryClient, RegistryClientError};
use portolan_core::endpoint::is_draining;
use portolan_core::{
    Backoff, CheckResults, HealthReport, Host, Registration, Remedy as _, ServiceEndpoint,
};
use portolan_health::LastResults;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::backoff::{interval, next_retry, retry_backoff, with_jitter};
use crate::session_link::{SessionLink, SessionNews};
use crate::settings::announce_settings;

/// The timeout of one request: a registry answers within milliseconds, and a heartbeat without an
/// answer must not delay the next one.
const REQUEST: Duration = Duration::from_secs(2);

/// The link from one service to one registry.
#[derive(Debug)]
pub(crate) struct RegistryLink {
    client: RegistryClient,
    desired: watch::Receiver<ServiceEndpoint>,
    /// The same, for what the registry says.
    state: watch::Sender<ServiceEndpoint>,
    session: SessionLink,
    published: watch::Sender<Published>,
    /// The maximum heartbeat interval.
    heartbeat: Duration,
    /// The results of this agent's checks. Without any the registry may check the service, and the agent does not overwrite
    /// the health.
    checks: Option<LastResults>,
    registered: Option<RegisteredState>,
    /// The addresses of the service at the last request.
    hosts: Vec<Host>,
    backoff: Backoff,
    lost: bool,
    /// Whether the registry refused the last request, which a retry does not resolve.
    refused: bool,
    /// Whether the registry may have the service: an attempt to register was not refused.
    may_be_registered: bool,
    /// Whether another registrant owns the registration now.
    replaced: bool,
}

/// What the registry has acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Published {
    /// Nothing, or it is not known.
    #[default]
    Nothing,
    /// The service.
    Serving,
    /// The service, and that it is about to stop.
    Draining,
}

/// What the registry stores, as far as the agent knows.
#[derive(Debug)]
struct RegisteredState {
    registration: Registration,
    health: HealthReport,
}

// === impl RegistryLink ===

impl RegistryLink {
    pub(crate) fn new(
        client: RegistryClient,
        state: watch::Sender<ServiceEndpoint>,
        heartbeat: Duration,
        checks: Option<LastResults>,
    ) -> Self {
        let desired = state.subscribe();
        let hosts = desired.borrow().hosts().cloned().collect();
        Self {
            client: client.with_timeout(REQUEST),
            desired,
            state,
            session: SessionLink::new(),
            published: watch::Sender::default(),
            heartbeat,
            checks,
            registered: None,
            hosts,
            backoff: retry_backoff(),
            lost: false,
            refused: false,
            may_be_registered: false,
            replaced: false,
        }
    }

    /// Returns what the registry has of the service, as far as it has acknowledged it.
    pub(crate) fn published(&self) -> watch::Receiver<Published> {
        self.published.subscribe()
    }

    /// Sends the registry what changed. `heartbeat` sends a heartbeat even if nothing changed.
    pub(crate) async fn reconcile(&mut self, heartbeat: bool) -> Result<(), RegistryClientError> {
        let desired = self.desired.borrow_and_update().clone();
        let hosts: Vec<Host> = desired.hosts().cloned().collect();
        if std::mem::replace(&mut self.hosts, hosts.clone()) != hosts {
            self.client = self.client.clone().without_connections();
            self.session.close();
        }
        match self.publish(&desired, heartbeat).await {
            Err(RegistryClientError::UnknownService { id }) => {
                info!(service_id = %id, "Service not known to the registry, registering again");
                self.registered = None;
                self.publish(&desired, false).await
            }
            Err(error @ RegistryClientError::Conflict { .. }) if self.registered.is_some() => {
                (self.replaced, self.may_be_registered) = (true, false);
                Err(error)
            }
            result => result,
        }
    }

    /// Forgets the registration, which was withdrawn. Returns whether it may be made again: not while another registrant
    /// owns it.
    pub(crate) fn forget(&mut self) -> bool {
        self.session.close();
        if !self.replaced {
            (self.registered, self.may_be_registered) = (None, false);
        }
        !self.replaced
    }

    /// Returns whether the registry has the id of the service for an instance at another address.
    pub(crate) async fn id_is_of_another_address(&self) -> bool {
        let desired = self.desired.borrow().clone();
        let Ok(owner) = self.client.get(&desired.id).await else { return false };
        let is_shared = desired.hosts().any(|host| owner.hosts().any(|other| other == host));
        owner.port != desired.port || !is_shared
    }

    /// Reconciles the registry until the token is cancelled, without cancelling a request. `result`
    /// is the result of the first attempt. `replaced` says whether another registrant owns the
    /// registration.
    pub(crate) async fn run(
        &mut self,
        mut result: Result<(), RegistryClientError>,
        stopping: &CancellationToken,
        replaced: &watch::Sender<bool>,
    ) {
        loop {
            let due = Instant::now() + self.record(result);
            if self.replaced {
                replaced.send_replace(true);
                self.session.close();
                // The service may have lost its address to another one, and have a new address now.
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = self.moved() => {}
                }
                (self.replaced, self.registered) = (false, None);
                replaced.send_replace(false);
                result = self.reconcile(false).await;
                continue;
            }
            let (id, ttl) = (self.desired.borrow().id.clone(), self.desired.borrow().ttl);
            let retry = interval(self.heartbeat, ttl);
            let holds_session = self.registered.is_some() && !self.lost;
            let heartbeat = tokio::select! {
                () = stopping.cancelled() => return,
                () = sleep_until(due) => true,
                Ok(()) = self.desired.changed() => false,
                // The registry has ended, or no longer has the service.
                news = self.session.hold(&self.client, &id, retry), if holds_session => match news {
                    SessionNews::Ended => true,
                    SessionNews::Settings(version) => {
                        announce_settings(&self.state, version);
                        false
                    }
                },
            };
            // After a failure the state of the registry is unknown; a heartbeat reveals it.
            result = self.reconcile(heartbeat || self.lost).await;
        }
    }

    /// Deregisters the service before the deadline.
    pub(crate) async fn withdraw(&self, deadline: Instant) {
        // Also without a known registration: a request without an answer may have been applied.
        let id = self.desired.borrow().id.clone();
        if !self.may_be_registered {
            debug!(service_id = %id, "Service not deregistered, because it is not registered");
            return;
        }
        match timeout_at(deadline, self.client.deregister(&id)).await {
            Ok(Ok(())) => info!(service_id = %id, "Service deregistered"),
            Ok(Err(RegistryClientError::UnknownService { .. })) => {
                debug!(service_id = %id, "Service already unknown to the registry");
            }
            Ok(Err(error)) if self.registered.is_none() => {
                debug!(service_id = %id, %error, "Service not deregistered, it was not registered");
            }
            Ok(Err(error)) => warn!(
                service_id = %id, error = error.with_remedy(),
                "Service not deregistered, it expires at the end of its TTL"
            ),
            Err(_) => warn!(
                service_id = %id, url = self.client.url(),
                "Service not deregistered in time, it expires at the end of its TTL"
            ),
        }
    }

    /// Waits until the service has none of the addresses that were registered.
    async fn moved(&mut self) {
        let lost = self.registered.as_ref().map(|state| &state.registration);
        let lost: Vec<Host> = lost
            .into_iter()
            .flat_map(|it| iter::once(&it.host).chain(&it.addresses))
            .cloned()
            .collect();
        let has_moved = |desired: &ServiceEndpoint| {
            desired.hosts().all(|host| host.is_loopback() || !lost.contains(host))
                && !desired.host.is_loopback()
        };
        // An error means that the agent ends, which is reported elsewhere.
        if self.desired.wait_for(has_moved).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    async fn publish(
        &mut self,
        desired: &ServiceEndpoint,
        heartbeat: bool,
    ) -> Result<(), RegistryClientError> {
        let mut registration = Registration::from(desired.clone());
        // On another host they would mean that host.
        registration.addresses.retain(|host| !host.is_loopback());
        let current =
            self.registered.as_ref().is_some_and(|state| state.registration == registration);
        if !current {
            self.register(registration).await?;
        } else if heartbeat {
            self.client.heartbeat_with(&desired.id, self.check_results(desired).as_ref()).await?;
        }
        self.update_health(desired).await
    }

    async fn register(&mut self, registration: Registration) -> Result<(), RegistryClientError> {
        let registered = self.client.register(&registration).await;
        // A request without an answer may have been applied, one that is refused has not been.
        self.may_be_registered = match &registered {
            Ok(_) => true,
            Err(error) => self.may_be_registered || error.is_temporary(),
        };
        let registered = registered?;
        let endpoint = registered.endpoint;
        info!(
            service_name = %endpoint.name, service_id = %endpoint.id, port = endpoint.port,
            protocol = %endpoint.protocol, created = registered.created, "Service registered"
        );
        let health = HealthReport::new(endpoint.health, endpoint.health_reason);
        self.registered = Some(RegisteredState { registration, health });
        Ok(())
    }

    async fn update_health(
        &mut self,
        desired: &ServiceEndpoint,
    ) -> Result<(), RegistryClientError> {
        let health = HealthReport::new(desired.health, desired.health_reason.as_str());
        let results = self.check_results(desired);
        let Some(registered) = self.registered.as_mut().filter(|_| self.checks.is_some()) else {
            return Ok(());
        };
        if registered.health != health {
            self.client.update_health_with(&desired.id, &health, results.as_ref()).await?;
            registered.health = health;
        }
        Ok(())
    }

    fn check_results(&self, desired: &ServiceEndpoint) -> Option<CheckResults> {
        self.checks.as_ref()?.get(&desired.id)
    }

    fn acknowledged(&self, is_ok: bool) -> Published {
        match self.registered.as_ref().filter(|_| is_ok && !self.replaced) {
            None => Published::Nothing,
            Some(state) if is_draining(&state.registration.metadata) => Published::Draining,
            Some(_) => Published::Serving,
        }
    }

    /// Records the result of a request, and returns the wait before the next one.
    fn record(&mut self, result: Result<(), RegistryClientError>) -> Duration {
        let interval = interval(self.heartbeat, self.desired.borrow().ttl);
        let was_lost = std::mem::replace(&mut self.lost, result.is_err());
        let refused = result.as_ref().is_err_and(|error| !error.is_temporary());
        let was_refused = std::mem::replace(&mut self.refused, refused);
        self.published.send_replace(self.acknowledged(result.is_ok()));
        match result {
            Ok(()) => {
                if was_lost {
                    info!(url = self.client.url(), "Registry available again");
                }
                self.backoff.reset();
                with_jitter(interval)
            }
            Err(error) => {
                if self.replaced {
                    warn!(
                        service_id = %self.desired.borrow().id, error = error.with_remedy(),
                        "Service replaced by another registrant, it is no longer renewed and announced"
                    );
                } else if was_lost && refused == was_refused {
                    debug!(%error, "Registry still unavailable");
                } else if self.registered.is_none() && !refused {
                    // No warning, because there may be no registry at all.
                    info!(error = error.with_remedy(), "Service not registered, trying again");
                } else if !refused {
                    warn!(error = error.with_remedy(), "Registry unavailable, trying again");
                } else {
                    warn!(
                        error = error.with_remedy(),
                        "Request refused by the registry, trying again"
                    );
                }
                if refused {
                    // An earlier retry would not help, but an operator may remove the cause.
                    with_jitter(interval)
                } else {
                    next_retry(&mut self.backoff, interval)
                }
            }
        }
    }
}
