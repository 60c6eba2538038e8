//! What the labels of a container declare: Portolan's own, and those of Compose. Labels are written by whoever may start
//! containers, and are validated here once.

use portolan_core::Metadata;
use portolan_core::{Protocol, Scope, ServiceName, quoted, suggest};
use portolan_health::CheckSpec;

use crate::container::{Container, Labels};

/// The prefix of the labels that Portolan reads.
const PREFIX: &str = "portolan.";
/// What follows it, besides `meta.KEY`.
const KNOWN: [&str; 7] = ["enable", "name", "port", "health", "scope", "protocol", "version"];
const META: &str = "meta.";
const COMPOSE_SERVICE: &str = "com.docker.compose.service";
const COMPOSE_PROJECT: &str = "com.docker.compose.project";
/// `docker compose run`: a task, and no instance of the service.
const COMPOSE_ONE_OFF: &str = "com.docker.compose.oneoff";

/// The service that a container is an instance of.
#[derive(Debug)]
pub(crate) struct Declared {
    pub(crate) name: ServiceName,
    pub(crate) scope: Scope,
    pub(crate) port: ContainerPort,
    pub(crate) protocol: Protocol,
    pub(crate) version: String,
    /// The check that the registry runs, in place of Docker's.
    pub(crate) health: Option<CheckSpec>,
    pub(crate) metadata: Metadata,
}

/// A port on which the program in the container listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContainerPort {
    pub(crate) number: u16,
    /// `tcp`, `udp` or `sctp`.
    pub(crate) transport: String,
}

/// A label that cannot be used. The container is not registered until it is created again with another one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("label {label}: {problem}")]
pub(crate) struct InvalidLabel {
    label: String,
    problem: String,
}

// === impl Declared ===

impl Declared {
    /// Returns the service of a container, or `None` if its labels name none.
    pub(crate) fn of(container: &Container) -> Result<Option<Self>, InvalidLabel> {
        let labels = &container.config.labels;
        check_names(labels)?;
        if !is_enabled(labels)? {
            return Ok(None);
        }
        let Some(name) = service_name(labels)? else { return Ok(None) };
        let Some(port) = port(container)? else { return Ok(None) };
        let health = parsed::<CheckSpec>(labels, "health")?;
        let protocol = parsed(labels, "protocol")?;
        let by_transport = || port.transport.parse().unwrap_or_default();
        Ok(Some(Self {
            name,
            scope: scope(labels)?,
            protocol: protocol.unwrap_or_else(by_transport),
            version: own(labels, "version").unwrap_or_default().to_owned(),
            health: health.filter(|check| !check.is_none()),
            metadata: metadata(labels)?,
            port,
        }))
    }

    /// Returns whether a container with these labels may be an instance, without more requests.
    pub(crate) fn may_be_in(labels: &Labels) -> bool {
        labels.contains_key(COMPOSE_SERVICE) || labels.keys().any(|key| key.starts_with(PREFIX))
    }
}

// === impl ContainerPort ===

impl ContainerPort {
    /// Returns the port as the engine writes it: `80/tcp`.
    pub(crate) fn key(&self) -> String {
        format!("{}/{}", self.number, self.transport)
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (number, transport) = text.split_once('/').unwrap_or((text, "tcp"));
        let number = number.parse().ok().filter(|number| *number != 0)?;
        let is_known = matches!(transport, "tcp" | "udp" | "sctp");
        is_known.then(|| Self { number, transport: transport.to_owned() })
    }
}

fn own<'a>(labels: &'a Labels, what: &str) -> Option<&'a str> {
    labels.get(&format!("{PREFIX}{what}")).map(String::as_str)
}

fn invalid(label: &str, problem: &dyn ToString) -> InvalidLabel {
    InvalidLabel { label: label.to_owned(), problem: problem.to_string() }
}

fn parsed<T>(labels: &Labels, what: &str) -> Result<Option<T>, InvalidLabel>
where
    T: std::str::FromStr,
    T::Err: ToString,
{
    let parse = |text: &str| {
        text.parse().map_err(|error: T::Err| invalid(&format!("{PREFIX}{what}"), &error))
    };
    own(labels, what).map(parse).transpose()
}

/// Refuses a label that Portolan does not know: it is a mistake, and the container would be registered in another way than
/// meant.
fn check_names(labels: &Labels) -> Result<(), InvalidLabel> {
    let unknown = labels.keys().filter_map(|key| Some((key, key.strip_prefix(PREFIX)?)));
    let mut unknown = unknown.filter(|(_, rest)| !KNOWN.contains(rest) && !rest.starts_with(META));
    let Some((key, rest)) = unknown.next() else { return Ok(()) };
    let known = KNOWN.join(", ");
    let problem = match suggest(rest, KNOWN) {
        Some(meant) => format!("unknown, did you mean {PREFIX}{meant}?"),
        None => format!("unknown, expected {PREFIX} with one of {known} or meta.KEY"),
    };
    Err(InvalidLabel { label: quoted(key), problem })
}

fn is_enabled(labels: &Labels) -> Result<bool, InvalidLabel> {
    match own(labels, "enable") {
        None | Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(other) => {
            let problem = format!("{} is neither true nor false", quoted(other));
            Err(invalid("portolan.enable", &problem))
        }
    }
}

fn service_name(labels: &Labels) -> Result<Option<ServiceName>, InvalidLabel> {
    if let Some(name) = parsed(labels, "name")? {
        return Ok(Some(name));
    }
    let is_task =
        labels.get(COMPOSE_ONE_OFF).is_some_and(|one_off| one_off.eq_ignore_ascii_case("true"));
    match labels.get(COMPOSE_SERVICE).filter(|_| !is_task) {
        Some(service) => {
            let name = service.parse().map_err(|error| invalid(COMPOSE_SERVICE, &error));
            name.map(Some)
        }
        None if is_task => Ok(None),
        None => match labels.keys().find(|key| key.starts_with(PREFIX)) {
            Some(other) => Err(invalid(other, &"the label portolan.name is missing")),
            None => Ok(None),
        },
    }
}

fn scope(labels: &Labels) -> Result<Scope, InvalidLabel> {
    if let Some(scope) = parsed(labels, "scope")? {
        return Ok(scope);
    }
    match labels.get(COMPOSE_PROJECT) {
        Some(project) => project.parse().map_err(|error| invalid(COMPOSE_PROJECT, &error)),
        None => Ok(Scope::default()),
    }
}

/// Returns the port of the label; else the only published one, else the only exposed one. `None` for a service of Compose
/// without ports: it is a worker.
fn port(container: &Container) -> Result<Option<ContainerPort>, InvalidLabel> {
    const LABEL: &str = "portolan.port";
    let labels = &container.config.labels;
    if let Some(text) = own(labels, "port") {
        let problem =
            || format!("{} is not a port, expected one such as 80 or 53/udp", quoted(text));
        return ContainerPort::parse(text).ok_or_else(|| invalid(LABEL, &problem())).map(Some);
    }
    let published = container.network_settings.ports.iter();
    let published =
        published.filter(|(_, bindings)| bindings.as_ref().is_some_and(|it| !it.is_empty()));
    let published = tcp(published.map(|(key, _)| key));
    let candidates = match published.is_empty() {
        false => published,
        true => tcp(container.config.exposed_ports.keys()),
    };
    match candidates.as_slice() {
        [only] => Ok(Some(only.clone())),
        [] if own(labels, "name").is_none() => Ok(None),
        [] => Err(invalid(
            LABEL,
            &"missing, and the container has no TCP port that is published or exposed",
        )),
        several => {
            let several: Vec<_> =
                several.iter().take(8).map(|port| port.number.to_string()).collect();
            let problem =
                format!("missing, and the container has several ports: {}", several.join(", "));
            Err(invalid(LABEL, &problem))
        }
    }
}

fn tcp<'a>(keys: impl Iterator<Item = &'a String>) -> Vec<ContainerPort> {
    let parsed = keys.filter_map(|key| ContainerPort::parse(key));
    parsed.filter(|port| port.transport == "tcp").collect()
}

fn metadata(labels: &Labels) -> Result<Metadata, InvalidLabel> {
    let entries = labels.iter().filter_map(|(label, value)| {
        let key = label.strip_prefix(PREFIX)?.strip_prefix(META)?;
        Some((label, key, value))
    });
    let mut metadata = Metadata::new();
    for (label, key, value) in entries {
        // Set by Portolan: another value would change what it means.
        let is_reserved = matches!(key, "scope" | "checked_by")
            || key.starts_with("docker.")
            || key.starts_with(PREFIX);
        if is_reserved {
            return Err(invalid(&quoted(label), &"Portolan sets this entry, expected another key"));
        }
        metadata.insert(key.to_owned(), value.clone());
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests;
