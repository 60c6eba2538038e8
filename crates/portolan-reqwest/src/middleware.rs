//! The middleware that sends a request to an instance, and to another one if that fails.

use std::fmt;
use std::time::Duration;

use http::Extensions;
use http::header::{HOST, HeaderValue};
use portolan_client::{LoadBalancingPolicy, PickedInstance, ServiceInstances};
use portolan_core::{ServiceId, ServiceName};
use quick_cache::sync::Cache;
use reqwest::{Request, Response};
use reqwest_middleware::{Error, Middleware, Next, Result};
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::attempt::{Failure, classify, is_idempotent};
use crate::builder::{Open, Opened};
use crate::error::ServiceRequestError;
use crate::target::{Mapped, at, service_of};

/// The maximum number of services that are followed. Each has a task, and names may come from outside.
const MAX_SERVICES: usize = 1_000;

/// The pause before an instance gets the same request again, because there is no other: about as long as a program takes to
/// start.
const PAUSE: Duration = Duration::from_millis(100);

/// Sends requests to services by name.
pub struct ServiceMiddleware {
    settings: Settings,
    services: Cache<ServiceName, ServiceInstances>,
}

/// What a builder sets.
pub(crate) struct Settings {
    pub(crate) open: Open,
    pub(crate) mapped: Mapped,
    pub(crate) policy: LoadBalancingPolicy,
    pub(crate) same_host: Option<bool>,
    pub(crate) zone: Option<String>,
    pub(crate) attempts: usize,
    pub(crate) attempt_timeout: Duration,
    pub(crate) wait: Duration,
}

/// How an attempt ended without a response.
enum Ended {
    Failed(Error),
    TimedOut,
}

// === impl ServiceMiddleware ===

impl ServiceMiddleware {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings, services: Cache::new(MAX_SERVICES) }
    }

    /// Returns the instances of the service, opened once.
    async fn instances(&self, name: &ServiceName) -> Opened<ServiceInstances> {
        let Settings { open, policy, same_host, zone, .. } = &self.settings;
        let open = async {
            let mut opened = open(name).policy(*policy);
            if let Some(prefer) = same_host {
                opened = opened.prefer_same_host(*prefer);
            }
            if let Some(zone) = zone {
                opened = opened.prefer_zone(zone);
            }
            opened.await
        };
        self.services.get_or_insert_async(name, open).await
    }

    /// Sends the request to instances until one answers.
    async fn send(
        &self,
        name: &ServiceName,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        let instances = self.instances(name).await.map_err(ServiceRequestError::from)?;
        if !request.headers().contains_key(HOST)
            && let Ok(host) = HeaderValue::from_str(name.as_str())
        {
            request.headers_mut().insert(HOST, host);
        }
        let mut tried: Vec<ServiceId> = Vec::new();
        loop {
            let again = request.try_clone();
            let picked = self.pick(&instances, &tried).await?;
            tried.push(picked.id.clone());
            *request.url_mut() = at(request.url(), &picked)?;
            let sent = next.clone().run(request, extensions);
            let ended = match timeout(self.settings.attempt_timeout, sent).await {
                Ok(Ok(response)) => {
                    picked.complete();
                    return Ok(response);
                }
                Ok(Err(error)) => Ended::Failed(error),
                Err(_) => Ended::TimedOut,
            };
            let failure = ended.failure();
            let error = ended.into_error(name, &picked, self.settings.attempt_timeout);
            if failure == Failure::Other {
                return Err(error);
            }
            debug!(service_name = %name, address = picked.address(), %error, "Attempt failed");
            picked.fail();
            let may_repeat =
                |request: &Request| failure == Failure::NotSent || is_idempotent(request.method());
            match again.filter(may_repeat) {
                Some(again) if tried.len() < self.settings.attempts => request = again,
                _ => return Err(error),
            }
        }
    }

    /// Selects an instance that was not tried yet; if all were, any of them after a pause.
    async fn pick(
        &self,
        instances: &ServiceInstances,
        tried: &[ServiceId],
    ) -> Result<PickedInstance> {
        if let Some(picked) = instances.pick_except(tried) {
            return Ok(picked);
        }
        if !tried.is_empty() {
            sleep(PAUSE).await;
        }
        let picked = instances.pick_within(self.settings.wait).await;
        Ok(picked.map_err(ServiceRequestError::from)?)
    }
}

#[async_trait::async_trait]
impl Middleware for ServiceMiddleware {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        match service_of(request.url(), &self.settings.mapped)? {
            Some(name) => self.send(&name, request, extensions, next).await,
            None => next.run(request, extensions).await,
        }
    }
}

impl fmt::Debug for ServiceMiddleware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceMiddleware")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("mapped", &self.mapped)
            .field("policy", &self.policy)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

// === impl Ended ===

impl Ended {
    fn failure(&self) -> Failure {
        match self {
            Self::Failed(error) => classify(error),
            Self::TimedOut => Failure::NoAnswer,
        }
    }

    fn into_error(self, name: &ServiceName, picked: &PickedInstance, limit: Duration) -> Error {
        match self {
            Self::Failed(error) => error,
            Self::TimedOut => {
                let (name, address) = (name.clone(), picked.address());
                ServiceRequestError::NoAnswer { name, address, limit }.into()
            }
        }
    }
}

#[cfg(test)]
mod tests;
