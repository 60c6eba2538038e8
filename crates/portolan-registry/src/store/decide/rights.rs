//! What the sender of a command may do. It is checked where all instances that a command affects are known, at the moment
//! in which it takes effect.

use portolan_access::{Denied, Right};
use portolan_core::ServiceEndpoint;

use super::{Concerned, Known};
use crate::{Command, CommandOrigin, RegistryError};

/// Checks the right to the instance with the id of the command, as it is now.
pub(super) fn check_right_to_known(
    command: &Command,
    concerned: &Concerned<'_>,
    origin: &CommandOrigin,
) -> Result<(), RegistryError> {
    let Some(known) = concerned.known else { return Ok(()) };
    let right = match command {
        Command::Register(_)
        | Command::Restore(_)
        | Command::Deregister(_)
        | Command::Vanish(..) => Right::Register,
        Command::Heartbeat(_) | Command::Health(..) | Command::Attach(..) => Right::Heartbeat,
    };
    Ok(check(right, known.endpoint, origin)?)
}

/// Checks the right to register the instance, at its addresses.
pub(super) fn check_right_to_register(
    new: &ServiceEndpoint,
    origin: &CommandOrigin,
) -> Result<(), RegistryError> {
    let Some(grants) = origin.grants() else { return Ok(()) };
    check(Right::Register, new, origin)?;
    let mut hosts = new.hosts();
    Ok(hosts.try_for_each(|host| grants.check_address(&new.scope, &new.name, host))?)
}

/// Checks the right to deregister the instances at the address of a new one.
pub(super) fn check_right_to_displace(
    displaced: &[Known<'_>],
    origin: &CommandOrigin,
) -> Result<(), RegistryError> {
    let mut displaced = displaced.iter();
    Ok(displaced.try_for_each(|other| check(Right::Register, other.endpoint, origin))?)
}

fn check(right: Right, endpoint: &ServiceEndpoint, origin: &CommandOrigin) -> Result<(), Denied> {
    let grants = origin.grants();
    grants.map_or(Ok(()), |grants| grants.check(right, &endpoint.scope, &endpoint.name))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use portolan_access::{Grants, Rule};
    use portolan_core::{HealthReport, HealthStatus, Registration, Revision, Ttl};

    use super::super::{Decision, Terms, decide};
    use super::*;
    use crate::CommandTarget;
    use crate::store::owner::Owner;

    fn rule(rights: &[Right], service: &str, addresses: &[&str]) -> Rule {
        Rule {
            rights: rights.to_vec(),
            scopes: vec!["*".parse().unwrap()],
            services: vec![service.parse().unwrap()],
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        }
    }

    fn origin(rules: Vec<Rule>) -> CommandOrigin {
        CommandOrigin::local().limited_to(Some(Arc::new(Grants::new("api", rules, Revision(1)))))
    }

    fn registration(id: &str, name: &str, host: &str) -> Registration {
        let mut registration =
            Registration::new(name.parse().unwrap(), host.parse().unwrap(), 8080);
        registration.id = Some(id.parse().unwrap());
        registration
    }

    /// Decides a command of this sender about these instances, which this host registered.
    fn decide_with(
        command: &Command,
        origin: &CommandOrigin,
        known: Option<&ServiceEndpoint>,
        neighbour: Option<&ServiceEndpoint>,
    ) -> Result<Decision, RegistryError> {
        let owner = Owner::new(&CommandOrigin::local());
        let known_as = |endpoint| Known { endpoint, owner: &owner };
        let concerned = Concerned {
            known: known.map(known_as),
            neighbours: neighbour.map(known_as).into_iter().collect(),
            ..Concerned::default()
        };
        let terms = Terms { origin, ttl_default: Ttl::DEFAULT, now: Timestamp::UNIX_EPOCH };
        decide(command, &concerned, terms)
    }

    fn stored(id: &str, name: &str) -> ServiceEndpoint {
        registration(id, name, "10.0.0.7").into_endpoint(Ttl::DEFAULT, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn right_is_needed_to_every_instance_that_a_command_affects() {
        let sender = origin(vec![rule(&[Right::Register], "api", &[])]);
        let register = |id, name| Command::Register(registration(id, name, "10.0.0.7"));
        let (own, other) = (stored("api-1", "api"), stored("db-1", "db"));
        decide_with(&register("api-1", "api"), &sender, None, None).unwrap();
        decide_with(&register("api-1", "api"), &sender, Some(&own), None).unwrap();
        for (command, known, neighbour) in [
            (register("x", "db"), None, None),
            // The id of another service.
            (register("db-1", "api"), Some(&other), None),
            // Its own instance as another service.
            (register("api-1", "db"), Some(&own), None),
            // The address of another service.
            (register("api-1", "api"), None, Some(&other)),
            (Command::Deregister(CommandTarget::from(&other.id)), Some(&other), None),
        ] {
            let error = decide_with(&command, &sender, known, neighbour).unwrap_err();
            assert!(matches!(error, RegistryError::Denied(_)), "{command:?}: {error}");
        }
    }

    #[test]
    fn heartbeats_and_reports_need_a_right_of_their_own() {
        let own = stored("api-1", "api");
        let target = || CommandTarget::from(&own.id);
        let report = HealthReport { status: HealthStatus::Critical, reason: "by hand".to_owned() };
        let commands = [Command::Heartbeat(target()), Command::Health(target(), report)];
        for (right, permitted) in [(Right::Register, false), (Right::Heartbeat, true)] {
            let sender = origin(vec![rule(&[right], "*", &[])]);
            for command in &commands {
                let decision = decide_with(command, &sender, Some(&own), None);
                assert_eq!(decision.is_ok(), permitted, "{right} {command:?}");
            }
        }
    }

    #[test]
    fn every_address_must_be_permitted() {
        let sender = origin(vec![rule(&[Right::Register], "*", &["10.0.0.0/24"])]);
        let mut registration = registration("api-1", "api", "10.0.0.7");
        let decide = |registration: &Registration| {
            decide_with(&Command::Register(registration.clone()), &sender, None, None)
        };
        decide(&registration).unwrap();
        registration.addresses = vec!["10.0.1.7".parse().unwrap()];
        assert!(matches!(decide(&registration), Err(RegistryError::Denied(_))));
    }
}
