//! What the annotations of a pod declare. Anybody with the right to create pods in the namespace can write them, so they are validated.

use std::collections::BTreeMap;

use portolan_core::{Metadata, Protocol, ServiceName, quoted, suggest};

use crate::instances::protocol_by_name;
use crate::objects::{ContainerPort, Pod};

/// The prefix of the annotations that Portolan reads.
pub(super) const PREFIX: &str = "portolan/";
/// What follows it, besides `meta.KEY`. None sets the scope: the right to create pods in one namespace gives none
/// in another.
const KNOWN: [&str; 4] = ["name", "port", "protocol", "version"];
const META: &str = "meta.";
/// How many ports a message lists.
const LISTED: usize = 8;

/// The service that a pod is an instance of.
#[derive(Debug)]
pub(super) struct Declared {
    pub(super) name: ServiceName,
    pub(super) port: u16,
    pub(super) protocol: Protocol,
    pub(super) version: Option<String>,
    pub(super) metadata: Metadata,
}

/// An annotation that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("annotation {annotation}: {problem}")]
pub(crate) struct InvalidAnnotation {
    annotation: String,
    problem: String,
}

type Annotations = BTreeMap<String, String>;

// === impl Declared ===

impl Declared {
    /// Returns the service of a pod, or `None` if it has no annotations of Portolan.
    pub(super) fn of(pod: &Pod) -> Result<Option<Self>, InvalidAnnotation> {
        let Some(annotations) = &pod.metadata.annotations else { return Ok(None) };
        let Some(first) = annotations.keys().find(|key| key.starts_with(PREFIX)) else {
            return Ok(None);
        };
        check_names(annotations)?;
        let name = parsed(annotations, "name")?;
        let name = name.ok_or_else(|| invalid(first, "the annotation portolan/name is missing"))?;
        let port = port(pod, annotations)?;
        let by_name = || protocol_by_name(&port.name, port.protocol.as_deref());
        Ok(Some(Self {
            name,
            port: port.number,
            protocol: parsed(annotations, "protocol")?.unwrap_or_else(by_name),
            version: own(annotations, "version").map(str::to_owned),
            metadata: metadata(annotations)?,
        }))
    }
}

fn own<'a>(annotations: &'a Annotations, what: &str) -> Option<&'a str> {
    annotations.get(&format!("{PREFIX}{what}")).map(String::as_str)
}

fn invalid(annotation: &str, problem: impl Into<String>) -> InvalidAnnotation {
    InvalidAnnotation { annotation: quoted(annotation), problem: problem.into() }
}

fn parsed<T>(annotations: &Annotations, what: &str) -> Result<Option<T>, InvalidAnnotation>
where
    T: std::str::FromStr,
    T::Err: ToString,
{
    let parse = |text: &str| {
        text.parse().map_err(|error: T::Err| invalid(&format!("{PREFIX}{what}"), error.to_string()))
    };
    own(annotations, what).map(parse).transpose()
}

/// Refuses an annotation that Portolan does not know: it is a mistake, and the pod would be registered in another way than meant.
fn check_names(annotations: &Annotations) -> Result<(), InvalidAnnotation> {
    let rest = annotations.keys().filter_map(|key| Some((key, key.strip_prefix(PREFIX)?)));
    let mut unknown = rest.filter(|(_, rest)| !KNOWN.contains(rest) && !rest.starts_with(META));
    let Some((key, rest)) = unknown.next() else { return Ok(()) };
    let known = KNOWN.join(", ");
    Err(match suggest(rest, KNOWN) {
        Some(meant) => invalid(key, format!("unknown, did you mean {PREFIX}{meant}?")),
        None => invalid(key, format!("unknown, expected {PREFIX} with one of {known} or meta.KEY")),
    })
}

/// Returns the port of the annotation, which may be one that no container declares; else the only declared TCP port.
fn port(pod: &Pod, annotations: &Annotations) -> Result<ContainerPort, InvalidAnnotation> {
    const PORT: &str = "portolan/port";
    if let Some(text) = own(annotations, "port") {
        let number = text.parse().ok().filter(|number| *number != 0);
        let declared = pod.ports().find(|port| Some(port.number) == number || port.name == text);
        let undeclared =
            || number.map(|number| ContainerPort { number, ..ContainerPort::default() });
        let problem =
            || format!("{} is neither a port nor the name of one of a container", quoted(text));
        return declared.cloned().or_else(undeclared).ok_or_else(|| invalid(PORT, problem()));
    }
    let declared: Vec<_> = pod.ports().filter(|port| port.is_tcp()).collect();
    match declared.as_slice() {
        [only] => Ok((*only).clone()),
        [] => Err(invalid(PORT, "missing, and no container declares a TCP port")),
        several => {
            let numbers = several.iter().take(LISTED).map(|port| port.number.to_string());
            let numbers: Vec<_> = numbers.collect();
            let numbers = numbers.join(", ");
            Err(invalid(PORT, format!("missing, and the containers declare several: {numbers}")))
        }
    }
}

fn metadata(annotations: &Annotations) -> Result<Metadata, InvalidAnnotation> {
    let mut metadata = Metadata::new();
    for (annotation, value) in annotations {
        let key = annotation.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix(META));
        let Some(key) = key else { continue };
        // Set by Portolan: another value would change what it means.
        let is_reserved = matches!(key, "scope" | "checked_by")
            || ["kubernetes.", "portolan.", "port."].iter().any(|prefix| key.starts_with(prefix));
        if is_reserved {
            return Err(invalid(annotation, "Portolan sets this entry, expected another key"));
        }
        metadata.insert(key.to_owned(), value.clone());
    }
    Ok(metadata)
}
