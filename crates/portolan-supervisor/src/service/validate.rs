//! Validates that the command, the environment and the ports of a service are consistent.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use portolan_core::{PortName, Remedy};

use super::NamedPort;
use crate::placeholders::{mentions_socket, names_in};
use crate::{CommandLine, Handoff};

/// Why a service description is inconsistent. Permanent: the description must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidService {
    /// A placeholder names a port that the service does not have.
    #[error(
        "placeholder {{port:{name}}} or {{fd:{name}}} names a port that the service does not have"
    )]
    UnknownPort {
        /// The name in the placeholder.
        name: PortName,
    },
    /// A placeholder for a socket, but the program inherits none.
    #[error(
        "placeholder {{fd}} requires an inherited socket, which the hand-off {handoff} does not pass"
    )]
    NoSocket {
        /// The configured hand-off.
        handoff: Handoff,
    },
    /// Two ports have the same environment variable.
    #[error("two ports have the environment variable {variable}")]
    SameVariable {
        /// The environment variable.
        variable: String,
    },
}

// === impl InvalidService ===

impl Remedy for InvalidService {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::UnknownPort { name } => format!(
                "add the port with --port {name} or under `ports`; if this is not a placeholder, put a space after the colon"
            )
            .into(),
            Self::NoSocket { .. } => "use the hand-off socket, or the placeholder {port}".into(),
            Self::SameVariable { .. } => "rename one of the ports".into(),
        })
    }
}

/// Checks that each placeholder has a value and each port its own environment variable.
pub fn validate(
    command: &CommandLine,
    environment: &BTreeMap<String, String>,
    ports: &[NamedPort],
    handoff: Handoff,
) -> Result<(), InvalidService> {
    let mut variables = BTreeSet::new();
    if let Some(port) = ports.iter().find(|port| !variables.insert(port.variable())) {
        return Err(InvalidService::SameVariable { variable: port.variable() });
    }
    let mut named = command.words().iter().chain(environment.values()).flat_map(|it| names_in(it));
    if let Some(name) = named.find(|name| ports.iter().all(|port| port.name != *name)) {
        return Err(InvalidService::UnknownPort { name });
    }
    let inherits = matches!(handoff, Handoff::Auto | Handoff::Socket);
    match mentions_socket(command, environment) && !inherits {
        true => Err(InvalidService::NoSocket { handoff }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(command: &str, ports: &[&str], handoff: Handoff) -> Option<InvalidService> {
        let ports: Vec<NamedPort> = ports.iter().map(|port| port.parse().unwrap()).collect();
        validate(&command.parse().unwrap(), &BTreeMap::new(), &ports, handoff).err()
    }

    #[test]
    fn consistent_service_is_valid() {
        let two = ["metrics", "admin=81"];
        assert_eq!(error_of("x {port} {port:metrics} {port:admin}", &two, Handoff::Guard), None);
        assert_eq!(error_of("x {fd} {fd:metrics} ${port:-80}", &two, Handoff::Auto), None);
    }

    #[test]
    fn texts_and_remedies() {
        let errors = [
            error_of("x {port:metrix}", &["metrics"], Handoff::Auto),
            error_of("x {fd}", &[], Handoff::Guard),
            error_of("x", &["a-b", "a_b"], Handoff::Auto),
        ];
        insta::assert_snapshot!(crate::test_env::texts_and_remedies(&errors.map(Option::unwrap)));
    }
}
