//! A registry server: registry, HTTP API, broadcast import and health checks in one process.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use portolan_broadcast::{Broadcaster, network_id};
use portolan_config_manager::ConfigManager;
use portolan_config_manager::live::ConfigControl;
use portolan_core::{Change, DeclaredInstance, Host, Scope, Secret};
use portolan_health::LastResults;
use portolan_host_facts::registry_socket::RegistrySocket;
use portolan_http::{AllowedHosts, ClientLimits, HttpLimits, HttpPolicy, HttpState};
use portolan_http_api::{Api, FailureReports, Sessions};
use portolan_metrics::Metrics;
use portolan_port_allocator::PortAllocator;
use portolan_registry::{ClientsConfig, Registry, RegistryConfig, WatchQuery};
use rustix::process::{Resource, getrlimit};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::access::AccessSources;
use crate::flows::{self, Import};
use crate::listen::listen;
use crate::live::LiveParts;
use crate::own_names::own_names;
use crate::parts::Parts;
use crate::secrets::MIN_TOKEN;
use crate::stack_access::StackAccess;
use crate::transport::Transport;
use crate::{ServerError, Settings};

/// The longest time that [`RegistryServer::stop`] takes. Tasks that run longer are aborted.
pub const STOP_WITHIN: Duration = Duration::from_millis(900);

/// A running registry server. Dropping it aborts its tasks.
#[derive(Debug)]
pub struct RegistryServer {
    address: SocketAddr,
    scheme: &'static str,
    registry: Registry,
    stack_token: Option<Secret>,
    /// The socket for clients on this host.
    socket: Option<RegistrySocket>,
    /// Its session holds the lease of the port.
    allocator: PortAllocator,
    /// Stopped in this order: the clients of the registry before the registry itself.
    parts: Parts,
}

/// Configures and starts a [`RegistryServer`].
#[derive(Debug)]
pub struct RegistryServerBuilder {
    settings: Settings,
    scope: Scope,
    metrics: Metrics,
    broadcaster: Option<Broadcaster>,
    on_any_port: bool,
    declared: Option<watch::Receiver<Vec<DeclaredInstance>>>,
    is_of_stack: bool,
    live: Option<Arc<ConfigManager<Settings>>>,
}

// === impl RegistryServer ===

impl RegistryServer {
    /// Returns a builder of a server with these settings.
    pub fn builder(settings: Settings) -> RegistryServerBuilder {
        let (scope, metrics) = (Scope::default(), Metrics::new());
        RegistryServerBuilder {
            settings,
            scope,
            metrics,
            broadcaster: None,
            on_any_port: false,
            declared: None,
            is_of_stack: false,
            live: None,
        }
    }

    /// The URL at which clients on this host reach the server.
    pub fn url(&self) -> String {
        let host = match self.address.ip() {
            ip if ip.is_unspecified() => Host::loopback(),
            ip => Host::try_from(ip).unwrap_or_else(|_| Host::loopback()),
        };
        format!("{}://{}", self.scheme, host.with_port(self.address.port()))
    }

    /// The token with which programs of the stack may change its services, if this is the registry of a stack and nothing else
    /// is required.
    pub fn stack_token(&self) -> Option<&Secret> {
        self.stack_token.as_ref()
    }

    /// The registry, for other components of the same process.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Waits until the server fails, as when it can accept no more connections; pending as long as
    /// it works. After a failure, call [`stop`](Self::stop) to end the rest. Cancel-safe.
    pub async fn wait(&mut self) -> ServerError {
        self.parts.failed().await
    }

    /// Shuts down gracefully within [`STOP_WITHIN`]: accepts no more requests, answers those in
    /// progress, ends all watches. The port is free afterwards.
    pub async fn stop(self) {
        self.parts.stop(STOP_WITHIN).await;
        // Before the port is free for another registry, which has a socket of the same name.
        drop(self.socket);
        drop(self.allocator);
        info!(address = %self.address, "Registry server stopped");
    }
}

// === impl RegistryServerBuilder ===

impl RegistryServerBuilder {
    /// Sets the scope in which the port is leased.
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Sets the metrics that the server records and `/metrics` exports.
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Sets the broadcast channel from which endpoints are imported.
    pub fn broadcaster(mut self, broadcaster: Option<Broadcaster>) -> Self {
        self.broadcaster = broadcaster;
        self
    }

    /// Sets whether the server may use a port after the configured one if that is in use.
    pub fn on_any_port(mut self, any: bool) -> Self {
        self.on_any_port = any;
        self
    }

    /// Sets the instances that the stack of this registry declares. Clients learn from them why a service
    /// is not registered.
    pub fn declared(mut self, declared: watch::Receiver<Vec<DeclaredInstance>>) -> Self {
        self.declared = Some(declared);
        self
    }

    /// Sets whether the server is the registry of a stack. It begins without the instances of its scope that an earlier one
    /// has kept in the data directory: the caller starts them again, and at their old addresses there may be other programs by
    /// now. If the settings require no credentials, and no other host can reach the server, only the user of the stack and its
    /// programs may change its services: the user by the socket of the registry, a program by
    /// [`RegistryServer::stack_token`].
    pub fn of_stack(mut self, is: bool) -> Self {
        self.is_of_stack = is;
        self
    }

    /// Sets the manager of the settings, which change while the server runs. Its settings must be those of the builder.
    pub fn live(mut self, manager: Arc<ConfigManager<Settings>>) -> Self {
        self.live = Some(manager);
        self
    }

    /// Starts the server. The port comes first, so that a second server on the same port fails
    /// before it has any effect.
    pub async fn start(self) -> Result<RegistryServer, ServerError> {
        let Self {
            settings,
            scope,
            metrics,
            broadcaster,
            on_any_port,
            declared,
            is_of_stack,
            live,
        } = self;
        if !settings.service_registry.enabled {
            return Err(ServerError::Disabled);
        }
        let transport = Transport::from_config(&settings.service_registry)?;
        let scheme = transport.scheme();
        let allocator =
            PortAllocator::new(settings.port_allocator.clone())?.with_metrics(metrics.clone());
        let listener = listen(&settings, &allocator, &scope, on_any_port)?;
        let address = settings.service_registry.listen_address;
        let address =
            listener.local_addr().map_err(|source| ServerError::Listen { address, source })?;
        let local = local_listener(&settings, address);
        let (socket, local) = local.map_or((None, None), |(socket, it)| (Some(socket), Some(it)));
        // Without the socket, nothing would prove to the registry who is the user of the stack.
        let closes = is_of_stack && socket.is_some() && address.ip().is_loopback();
        let stack =
            (closes && !settings.requires_credentials()).then(|| StackAccess::new(scope.clone()));
        let stack_token = stack.as_ref().map(|stack| stack.token().clone());
        let is_closed = stack.is_some();
        let access = Arc::new(AccessSources::open(&settings, address, stack)?);
        let (task, registry) =
            portolan_registry::open(&settings.service_registry, metrics.clone())?;
        let allowed = settings.health.allowed_networks.clone();
        let (sessions, session_ends) =
            Sessions::new(registry.clone(), allowed.clone(), metrics.clone());
        let (failure_reports, reported) =
            FailureReports::new(registry.clone(), allowed, metrics.clone());
        let check_results = LastResults::default();
        let api = Api::new(registry.clone(), metrics.clone())
            .sessions(sessions)
            .failure_reports(failure_reports)
            .check_results(check_results.clone())
            .authenticator(access.authenticator())
            .trusted_proxies(settings.service_registry.trusted_proxies.clone())
            .open_to_network(is_open_to_network(address.ip(), &settings))
            .network_id(network_id())
            .stack(is_closed.then(|| scope.clone()))
            .declared(declared)
            .config(live.clone().map(|manager| manager as Arc<dyn ConfigControl>));

        let state = HttpState::from(http_policy(&settings.service_registry, &metrics));
        let mut parts = Parts::default();
        let (publish, followed) = watch::channel(Arc::new(settings.clone()));
        let live_settings = LiveParts {
            access: Arc::clone(&access),
            http: state.clone(),
            registry: registry.clone(),
            transport: transport.clone(),
            publish,
        };
        parts.spawn("settings", |stop| live_settings.follow(live, address, stop));
        parts.spawn("stored policies", |stop| {
            Arc::clone(&access).follow_store(registry.clone(), stop)
        });
        parts.spawn("access", |stop| access.follow(registry.clone(), stop));
        parts.spawn("health", |stop| {
            let (registry, metrics) = (registry.clone(), metrics.clone());
            let changed = followed.clone();
            flows::health_following(registry, changed, metrics, check_results, stop)
        });
        parts.spawn("sessions", |stop| session_ends.run(stop));
        parts.spawn("reports", |stop| reported.run(stop));
        let import =
            Import::start(broadcaster, registry.clone(), &settings, is_closed, metrics.clone());
        parts.spawn("import", |stop| import.run(followed, stop));
        let (dialects, open) = (vec![api.dialect()], CancellationToken::new());
        let (opened, shared) = (open.clone().cancelled_owned(), state.clone());
        parts.spawn_fallible("http", async |stop| {
            // Requests wait until the state is that with which the server begins.
            opened.await;
            Ok(transport.serve(listener, dialects, shared, stop.cancelled_owned()).await?)
        });
        if let Some(listener) = local {
            let (dialects, opened) = (vec![api.dialect()], open.clone().cancelled_owned());
            parts.spawn_fallible("socket", async |stop| {
                opened.await;
                Ok(portolan_http::serve(listener, dialects, state, stop.cancelled_owned()).await?)
            });
        }
        parts.spawn("registry", |stop| task.run(stop.cancelled_owned()));
        if is_of_stack {
            forget(&registry, &scope).await;
        }
        open.cancel();
        if is_open_to_network(address.ip(), &settings) {
            warn!(
                %address,
                "Registry serves other hosts without a token, so that anyone there can change it: set PORTOLAN_TOKEN, or \
                 service_registry.listen_address to 127.0.0.1:7000"
            );
        }
        info!(%address, "Registry server started");
        Ok(RegistryServer { address, scheme, registry, stack_token, socket, allocator, parts })
    }
}

/// Listens on a socket in the runtime directory too, by which clients of this user reach a registry on loopback. Without it they
/// use TCP.
fn local_listener(
    settings: &Settings,
    address: SocketAddr,
) -> Option<(RegistrySocket, UnixListener)> {
    if !address.ip().is_loopback() && !address.ip().is_unspecified() {
        return None;
    }
    let runtime = settings.port_allocator.runtime_directory().ok()?;
    let bind = || {
        let (socket, listener) = RegistrySocket::bind(&runtime, address)?;
        listener.set_nonblocking(true)?;
        Ok::<_, std::io::Error>((socket, UnixListener::from_std(listener)?))
    };
    bind()
        .inspect_err(|error| warn!(%error, "No socket for clients on this host, they use TCP"))
        .ok()
}

/// Deregisters the instances of the scope.
async fn forget(registry: &Registry, scope: &Scope) {
    let query = WatchQuery { scopes: vec![scope.clone()], ..WatchQuery::default() };
    // The first event is the state, once the store has delivered it.
    let Some(event) = registry.watch(query).next().await else { return };
    let Change::Snapshot { endpoints, .. } = &event.change else { return };
    for endpoint in endpoints {
        if let Err(error) = registry.deregister(&endpoint.id).await {
            warn!(id = %endpoint.id, %error, "Instance of an earlier run cannot be deregistered");
        }
    }
}

/// Refuses a token that can be guessed, if other hosts can try.
pub(crate) fn check_token(token: Option<&Secret>, address: SocketAddr) -> Result<(), ServerError> {
    let length = token.map_or(MIN_TOKEN, |token| token.expose().len());
    if length >= MIN_TOKEN {
        return Ok(());
    }
    if !address.ip().is_loopback() {
        return Err(ServerError::WeakToken { length, address });
    }
    warn!(
        length,
        expected = MIN_TOKEN,
        "Token of the registry is short, so that it can be guessed"
    );
    Ok(())
}

/// Whether other hosts reach the server and need no credentials.
fn is_open_to_network(address: IpAddr, settings: &Settings) -> bool {
    !address.is_loopback() && !settings.requires_credentials()
}

pub(crate) fn client_limits(config: &ClientsConfig) -> ClientLimits {
    const MIB: usize = 1024 * 1024;
    ClientLimits {
        connections: config.connections,
        streams: config.streams,
        requests_per_second: config.requests_per_second,
        wrong_tokens: config.wrong_tokens,
        response_bytes: config.response_mib * MIB,
        total_response_bytes: config.total_response_mib * MIB,
    }
}

pub(crate) fn allowed_hosts(config: &RegistryConfig) -> AllowedHosts {
    AllowedHosts::default().with(config.allowed_hosts.iter().cloned().chain(own_names()))
}

fn http_policy(config: &RegistryConfig, metrics: &Metrics) -> HttpPolicy {
    HttpPolicy {
        hosts: allowed_hosts(config),
        clients: client_limits(&config.clients),
        trusted_proxies: config.trusted_proxies.clone(),
        metrics: metrics.clone(),
        limits: HttpLimits { connections: max_connections(), ..HttpLimits::default() },
    }
}

/// The most connections of each of the two listeners. Both together leave descriptors for the rest of the process.
fn max_connections() -> usize {
    const OTHERS: u64 = 256;
    let most = HttpLimits::default().connections;
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let free = usize::try_from(files.saturating_sub(OTHERS).max(files / 2)).unwrap_or(most);
    (free / 2).clamp(1, most)
}

#[cfg(test)]
mod tests;
