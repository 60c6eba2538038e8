//! What a service cannot be: places in its command that nothing fills, ports that cannot be told
//! apart.

use std::collections::{BTreeMap, BTreeSet};

use portolan_core::PortName;

use super::NamedPort;
use crate::placeholders::{mentions_socket, names_in};
use crate::{CommandLine, Handoff};

/// Why a service cannot be started as it is described. Retrying does not help: it must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidService {
    /// A place for a port that the service does not have.
    #[error(
        "{{port:{name}}} and {{fd:{name}}} stand for a port that the service does not have; name it with --port {name}, or under `ports`, or put a space after the colon where this is no such place"
    )]
    UnknownPort {
        /// The name that stands in the place.
        name: PortName,
    },
    /// A place for a socket that the program will not inherit.
    #[error(
        "{{fd}} stands for a socket, and with the hand-over {handoff} the program inherits none; use socket, or {{port}}"
    )]
    NoSocket {
        /// What the user says.
        handoff: Handoff,
    },
    /// Two ports with one name, or with names that are one variable.
    #[error("two ports would both be {variable}; give one of them another name")]
    SameVariable {
        /// The variable that both would be in.
        variable: String,
    },
}

/// Checks that there is a value for every place, and a variable for every port.
pub fn check(
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

    fn error_of(command: &str, ports: &[&str], handoff: Handoff) -> String {
        let ports: Vec<NamedPort> = ports.iter().map(|port| port.parse().unwrap()).collect();
        let command = command.parse().unwrap();
        let checked = check(&command, &BTreeMap::new(), &ports, handoff);
        checked.map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn every_place_has_a_value() {
        let two = ["metrics", "admin=81"];
        assert_eq!(error_of("x {port} {port:metrics} {port:admin}", &two, Handoff::Guard), "");
        assert_eq!(error_of("x {fd} {fd:metrics} ${port:-80}", &two, Handoff::Auto), "");
        let error = error_of("x {port:metrix}", &two, Handoff::Auto);
        assert!(error.contains("--port metrix"), "{error}");
        let error = error_of("x {fd}", &two, Handoff::Guard);
        assert!(error.contains("with the hand-over guard the program inherits none"), "{error}");
    }

    #[test]
    fn every_port_has_a_variable_of_its_own() {
        let error = error_of("x", &["a-b", "a_b"], Handoff::Auto);
        assert_eq!(error, "two ports would both be PORT_A_B; give one of them another name");
    }
}
