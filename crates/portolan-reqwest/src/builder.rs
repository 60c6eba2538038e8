//! Builds clients.

use std::time::Duration;

use portolan_client::{DiscoverError, DiscoveryClient, LoadBalancingPolicy, OpenInstances};
use portolan_core::ServiceName;
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};

use crate::middleware::{ServiceMiddleware, Settings};
use crate::target::Mapped;

/// How long a TCP connection may take to be established: on a local network it takes milliseconds.
const CONNECT: Duration = Duration::from_secs(2);
/// How long an instance may take to answer.
const ATTEMPT: Duration = Duration::from_secs(30);
/// How long a request waits for the first instance.
const WAIT: Duration = Duration::from_secs(5);
/// How many instances get a request at most.
const ATTEMPTS: usize = 3;

/// Builds a client whose `http://NAME/` URLs reach instances of the service `NAME`.
#[derive(Debug)]
#[must_use]
pub struct ServiceClientBuilder {
    settings: Settings,
}

// === impl ServiceClientBuilder ===

impl ServiceClientBuilder {
    /// Returns a builder of a client that finds services with this discovery client.
    pub fn new<H: Send + Sync + 'static>(discovery: &DiscoveryClient<H>) -> Self {
        let discovery = discovery.clone();
        let open = move |name: &ServiceName| discovery.instances(name);
        let settings = Settings {
            open: Box::new(open),
            mapped: Mapped::new(),
            policy: LoadBalancingPolicy::default(),
            same_host: None,
            zone: None,
            attempts: ATTEMPTS,
            attempt_timeout: ATTEMPT,
            wait: WAIT,
        };
        Self { settings }
    }

    /// Sets how an instance is selected. Default [`LoadBalancingPolicy::PeakEwma`].
    pub fn policy(mut self, policy: LoadBalancingPolicy) -> Self {
        self.settings.policy = policy;
        self
    }

    /// Selects instances on this host before all others. Default: as the setting `discovery.prefer_same_host`.
    pub fn prefer_same_host(mut self, prefer: bool) -> Self {
        self.settings.same_host = Some(prefer);
        self
    }

    /// Selects instances whose metadata entry `zone` is this one before all others. Default: the setting
    /// `discovery.zone`.
    pub fn prefer_zone(mut self, zone: impl Into<String>) -> Self {
        self.settings.zone = Some(zone.into());
        self
    }

    /// Treats a host, such as `orders.example.com`, as a service.
    pub fn host(mut self, host: impl Into<String>, service: ServiceName) -> Self {
        self.settings.mapped.insert(host.into().to_ascii_lowercase(), service);
        self
    }

    /// Sets how many instances get a request at most, the first one included. Default 3; 0 counts as 1.
    pub fn attempts(mut self, attempts: usize) -> Self {
        self.settings.attempts = attempts.max(1);
        self
    }

    /// Sets how long one instance may take until its response begins. Default 30 s. The timeout of a request, as
    /// [`reqwest::RequestBuilder::timeout`] sets it, applies to each attempt as well.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.settings.attempt_timeout = timeout;
        self
    }

    /// Sets how long a request waits for an instance if there is none. Default 5 s.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.settings.wait = wait;
        self
    }

    /// Builds the client: without a proxy, and with a connection timeout of 2 s.
    ///
    /// # Errors
    /// As [`reqwest::ClientBuilder::build`].
    pub fn build(self) -> reqwest::Result<ClientWithMiddleware> {
        let client = reqwest::Client::builder().no_proxy().connect_timeout(CONNECT).build()?;
        Ok(ClientBuilder::new(client).with(self.middleware()).build())
    }

    /// Returns the middleware for a client of the program's own. It must be the last one: what follows would see the address of
    /// the instance.
    pub fn middleware(self) -> ServiceMiddleware {
        ServiceMiddleware::new(self.settings)
    }
}

/// Opens the instances of a service.
pub(crate) type Open = Box<dyn Fn(&ServiceName) -> OpenInstances + Send + Sync>;

/// What opening instances may fail with.
pub(crate) type Opened<T> = Result<T, DiscoverError>;
