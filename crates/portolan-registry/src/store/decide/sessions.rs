//! What the sessions of agents mean for their instances.

use super::{Decision, Effect, Known, Put};
use crate::store::owner::Owner;
use crate::{AgentSessionId, RegistryError};

/// Notes the session that the agent holds from now on.
pub(super) fn attach(known: Known<'_>, session: AgentSessionId) -> Decision {
    let owner = Owner { session: Some(session), ..known.owner.clone() };
    let put = Put::unchanged(known.endpoint.clone(), Effect::Renewed);
    Decision::Put(Put { owner: Some(owner), ..put })
}

/// Removes an instance whose process has ended, unless its agent holds another session by now.
pub(super) fn vanish(known: Known<'_>, session: AgentSessionId) -> Result<Decision, RegistryError> {
    match known.owner.session == Some(session) {
        true => Ok(Decision::Remove),
        false => Err(RegistryError::AnotherSession { id: known.endpoint.id.clone(), session }),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use portolan_core::{Host, Incarnation, Registration, ServiceEndpoint, ServiceId, Ttl};

    use super::super::{Concerned, Terms, decide};
    use super::*;
    use crate::{Command, CommandOrigin, CommandTarget};

    /// An instance and its owner.
    struct Instance {
        endpoint: ServiceEndpoint,
        owner: Owner,
    }

    impl Instance {
        fn registered() -> Self {
            let mut registration =
                Registration::new("api".parse().unwrap(), Host::loopback(), 8080);
            registration.incarnation = Some(Incarnation::new(1));
            let endpoint = registration.into_endpoint(Ttl::DEFAULT, Timestamp::UNIX_EPOCH);
            Self { endpoint, owner: Owner::new(&CommandOrigin::local()) }
        }

        fn target(&self, incarnation: u64) -> CommandTarget {
            let incarnation = Some(Incarnation::new(incarnation));
            CommandTarget { id: self.endpoint.id.clone(), incarnation }
        }

        fn decide(&self, command: &Command) -> Result<Decision, RegistryError> {
            let known = Some(Known { endpoint: &self.endpoint, owner: &self.owner });
            let concerned = Concerned { known, ..Concerned::default() };
            let (origin, now) = (CommandOrigin::local(), Timestamp::UNIX_EPOCH);
            decide(command, &concerned, Terms { origin: &origin, ttl_default: Ttl::DEFAULT, now })
        }

        fn apply(&mut self, command: &Command) {
            let Decision::Put(put) = self.decide(command).unwrap() else { panic!("{command:?}") };
            self.endpoint = put.endpoint;
            self.owner = put.owner.unwrap_or_else(|| self.owner.clone());
        }
    }

    #[test]
    fn only_the_end_of_the_newest_session_removes() {
        let mut api = Instance::registered();
        let (first, second) = (AgentSessionId::random(), AgentSessionId::random());
        api.decide(&Command::Vanish(api.target(1), first)).unwrap_err();
        api.apply(&Command::Attach(api.target(1), first));
        // The agent connects to another server.
        api.apply(&Command::Attach(api.target(1), second));
        let error = api.decide(&Command::Vanish(api.target(1), first)).unwrap_err();
        assert!(matches!(error, RegistryError::AnotherSession { .. }), "{error}");
        let decision = api.decide(&Command::Vanish(api.target(1), second)).unwrap();
        assert_eq!(decision, Decision::Remove);
    }

    #[test]
    fn session_of_another_run_neither_attaches_nor_removes() {
        let mut api = Instance::registered();
        let session = AgentSessionId::random();
        api.decide(&Command::Attach(api.target(2), session)).unwrap_err();
        api.apply(&Command::Attach(api.target(1), session));
        api.decide(&Command::Vanish(api.target(2), session)).unwrap_err();
        // A new run at the same address.
        let mut registration = Registration::from(api.endpoint.clone());
        registration.incarnation = Some(Incarnation::new(2));
        api.apply(&Command::Register(registration));
        assert_eq!(api.owner.session, None);
        api.decide(&Command::Vanish(api.target(2), session)).unwrap_err();
    }

    #[test]
    fn session_lasts_while_the_registration_changes_and_is_no_heartbeat() {
        let mut api = Instance::registered();
        let session = AgentSessionId::random();
        let before = api.endpoint.clone();
        api.apply(&Command::Attach(api.target(1), session));
        assert_eq!(api.endpoint, before);
        let mut registration = Registration::from(api.endpoint.clone());
        registration.version = "2".to_owned();
        api.apply(&Command::Register(registration));
        api.apply(&Command::Heartbeat(api.target(1)));
        assert_eq!(api.owner.session, Some(session));
        api.decide(&Command::Vanish(api.target(1), session)).unwrap();
    }

    #[test]
    fn unknown_instance_has_no_session() {
        let id: ServiceId = "api".parse().unwrap();
        let (origin, now) = (CommandOrigin::local(), Timestamp::UNIX_EPOCH);
        let terms = Terms { origin: &origin, ttl_default: Ttl::DEFAULT, now };
        let command = Command::Attach(id.into(), AgentSessionId::random());
        let error = decide(&command, &Concerned::default(), terms).unwrap_err();
        assert!(matches!(error, RegistryError::Unknown { .. }), "{error}");
    }
}
