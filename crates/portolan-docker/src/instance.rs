//! The instance of a service that a container is.

use portolan_core::Metadata;
use portolan_core::endpoint::CHECKED_BY_AGENT;
use portolan_core::{
    ADDRESS_PORTS, AddressPort, HealthReport, HealthStatus, InvalidRegistration, Registration,
    ServiceId, Ttl, escaped_line,
};

use crate::addresses::{HostView, addresses};
use crate::check_url::check_url;
use crate::container::{Container, DockerHealth};
use crate::labels::{Declared, InvalidLabel};

/// The beginning of the id of every instance.
pub(crate) const ID_PREFIX: &str = "docker-";
/// The metadata entry with the id of the engine.
pub(crate) const ENGINE: &str = "docker.engine";
/// How much of the output of a health check is the reason, in characters.
const REASON: usize = 200;

/// An instance as it should be registered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Instance {
    pub(crate) registration: Registration,
    /// The health that Docker has found; `None` without a health check of the image.
    pub(crate) health: Option<HealthReport>,
}

/// Why a container with labels is not registered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotRegistered {
    #[error(transparent)]
    Label(#[from] InvalidLabel),
    #[error(
        "portolan.health: {0} is a check that only an agent runs, expected http, tcp, grpc, postgres or redis"
    )]
    AgentCheck(String),
    #[error(
        "label portolan.health: {0} is not a port of the container, expected a path such as http:/health, or HOST:PORT with \
         an address and port that the container publishes or has"
    )]
    ForeignCheck(String),
    #[error(
        "its port {0} has no address that a caller could reach: it is not published to other hosts, and the registry is on another host"
    )]
    OutOfReach(String),
    #[error("its port {0} has no address: it has no network")]
    NoNetwork(String),
    #[error(transparent)]
    Registration(#[from] InvalidRegistration),
}

// === impl Instance ===

impl Instance {
    /// Returns the id of the instance of a container: of the same container always the same one.
    pub(crate) fn id_of(container: &Container) -> Option<ServiceId> {
        format!("{ID_PREFIX}{}", container.short_id()).parse().ok()
    }

    /// Returns the instance of a container, or `None` if it is none at the moment: it is paused, or its labels name no service.
    pub(crate) fn of(
        container: &Container,
        engine: &str,
        host: &HostView,
        ttl: Ttl,
    ) -> Result<Option<Self>, NotRegistered> {
        if !container.is_running() || container.state.paused {
            return Ok(None);
        }
        let Some(declared) = Declared::of(container)? else { return Ok(None) };
        let addresses = addresses(container, &declared.port, host);
        let Some(best) = addresses.first().cloned() else {
            let port = declared.port.key();
            return Err(match host.is_with_registry {
                true => NotRegistered::NoNetwork(port),
                false => NotRegistered::OutOfReach(port),
            });
        };
        let health = declared.health.is_none().then(|| docker_health(container)).flatten();
        let mut registration = Registration {
            id: Self::id_of(container),
            scope: declared.scope.clone(),
            protocol: declared.protocol.clone(),
            version: declared.version.clone(),
            health_url: check_url(&declared, &best, container, host)?,
            ttl: Some(ttl),
            addresses: addresses[1..].iter().map(|address| address.host.clone()).collect(),
            ..Registration::new(declared.name, best.host, best.port)
        };
        registration.metadata = metadata(declared.metadata, container, engine, &addresses);
        if health.is_some() {
            let (key, value) = CHECKED_BY_AGENT;
            registration.metadata.insert(key.to_owned(), value.to_owned());
        }
        registration.validate()?;
        Ok(Some(Self { registration, health }))
    }
}

fn metadata(
    mut metadata: Metadata,
    container: &Container,
    engine: &str,
    addresses: &[AddressPort],
) -> Metadata {
    let mut put = |key: &str, value: &str| _ = metadata.insert(key.to_owned(), value.to_owned());
    put(ENGINE, engine);
    put("docker.id", container.short_id());
    put("docker.container", container.name.trim_start_matches('/'));
    put("docker.image", &container.config.image);
    // One port and no network: an ordinary instance.
    if addresses.iter().any(|it| it.within.is_some() || it.port != addresses[0].port) {
        put(ADDRESS_PORTS, &AddressPort::entry(addresses));
    }
    metadata
}

fn docker_health(container: &Container) -> Option<HealthReport> {
    let DockerHealth { status, log } = container.state.health.as_ref()?;
    let output = log.last().map_or("", |last| last.output.trim());
    let output: String = output.chars().take(REASON).collect();
    let reason = escaped_line(&output).into_owned();
    match status.as_str() {
        "healthy" => Some(HealthReport::new(HealthStatus::Passing, "")),
        "unhealthy" => Some(HealthReport::new(HealthStatus::Critical, reason)),
        "starting" => {
            Some(HealthReport::new(HealthStatus::Unknown, "Docker's health check is starting"))
        }
        _ => None,
    }
}
