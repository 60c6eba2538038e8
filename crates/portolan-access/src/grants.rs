//! What one identity may do.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use portolan_core::{Host, IpNetwork, Remedy, Revision, Scope, ServiceName};

use crate::{IdentityLimits, Right, Rule, is_access_control};

/// The rights of an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants {
    identity: String,
    rules: Vec<Rule>,
    since: Revision,
    limits: IdentityLimits,
    /// What resolves a refusal, if the rules are not those of a file.
    remedy: Option<&'static str>,
}

/// A request that lacks a right. Retrying does not help before the policies have changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{identity} may not {action}")]
pub struct Denied {
    identity: String,
    action: Action,
    remedy: String,
}

/// What was to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    Use { right: Right, object: Option<(Scope, ServiceName)> },
    Advertise { host: Host, allowed: Vec<IpNetwork> },
}

// === impl Grants ===

impl Grants {
    /// The grants of an identity by these rules. `since` is the revision of the registry when they came into force.
    pub fn new(identity: impl Into<String>, rules: Vec<Rule>, since: Revision) -> Self {
        Self {
            identity: identity.into(),
            rules,
            since,
            limits: IdentityLimits::default(),
            remedy: None,
        }
    }

    /// Limits what all clients with the identity use together.
    pub fn with_limits(self, limits: IdentityLimits) -> Self {
        Self { limits, ..self }
    }

    /// Returns how much all clients with the identity may use together.
    pub fn limits(&self) -> IdentityLimits {
        self.limits
    }

    /// Sets what resolves each refusal, for grants that are not from a file of policies.
    pub fn with_remedy(self, remedy: &'static str) -> Self {
        Self { remedy: Some(remedy), ..self }
    }

    /// Returns the name of the identity.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Returns the revision of the registry when the grants came into force: what a watch has shown before may lack what
    /// they show now.
    pub fn since(&self) -> Revision {
        self.since
    }

    /// Whether they are the same rights of the same identity, whenever they came into force.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.identity, &self.rules) == (&other.identity, &other.rules)
    }

    /// Whether the right extends to this service.
    pub fn permit(&self, right: Right, scope: &Scope, name: &ServiceName) -> bool {
        self.rules.iter().any(|rule| rule.permits(right) && rule.has(scope, name))
    }

    /// Checks that the right extends to this service.
    ///
    /// # Errors
    ///
    /// It does not.
    pub fn check(&self, right: Right, scope: &Scope, name: &ServiceName) -> Result<(), Denied> {
        match self.permit(right, scope, name) {
            true => Ok(()),
            false => Err(self.lacks(right, Some((scope.clone(), name.clone())))),
        }
    }

    /// Checks that the right extends to one of these services at least; of each list, none means all.
    ///
    /// # Errors
    ///
    /// It does not.
    pub fn check_any(
        &self,
        right: Right,
        scopes: &[Scope],
        names: &[ServiceName],
    ) -> Result<(), Denied> {
        let permits = |rule: &Rule| rule.permits(right) && rule.has_any(scopes, names);
        if self.rules.iter().any(permits) {
            return Ok(());
        }
        let object = scopes.first().cloned().unwrap_or_default();
        Err(self.lacks(right, names.first().map(|name| (object, name.clone()))))
    }

    /// Checks a right that concerns the server as a whole.
    ///
    /// # Errors
    ///
    /// The identity does not have it.
    pub fn check_server(&self, right: Right) -> Result<(), Denied> {
        match self.rules.iter().any(|rule| rule.permits(right)) {
            true => Ok(()),
            false => Err(self.lacks(right, None)),
        }
    }

    /// Checks that an instance of the service may have this address. A host name counts only if the rules name no networks,
    /// because it could mean any address.
    ///
    /// # Errors
    ///
    /// No rule that permits registering the service has the address.
    pub fn check_address(
        &self,
        scope: &Scope,
        name: &ServiceName,
        host: &Host,
    ) -> Result<(), Denied> {
        let permits = |rule: &&Rule| rule.permits(Right::Register) && rule.has(scope, name);
        let mut allowed = Vec::new();
        for rule in self.rules.iter().filter(permits) {
            if rule.allows(host.address()) {
                return Ok(());
            }
            allowed.extend_from_slice(&rule.addresses);
        }
        let action = Action::Advertise { host: host.clone(), allowed };
        let remedy = format!(
            "register an address of these networks, or add the network to `addresses` in a policy of {}",
            self.identity
        );
        Err(Denied { identity: self.identity.clone(), action, remedy })
    }

    fn lacks(&self, right: Right, object: Option<(Scope, ServiceName)>) -> Denied {
        let Self { identity, .. } = self;
        let is_policies = object.as_ref().is_some_and(|(_, name)| is_access_control(name));
        let (right, object) = if is_policies { (Right::Administer, None) } else { (right, object) };
        let remedy = match &object {
            _ if let Some(remedy) = self.remedy => remedy.to_owned(),
            Some((scope, name)) => format!(
                "add the right `{right}` for {name} in the scope {scope} to a policy of {identity}, or use the token of another \
                 identity"
            ),
            None => format!(
                "add the right `{right}` to a policy of {identity}, or use the token of another identity"
            ),
        };
        Denied { identity: identity.clone(), action: Action::Use { right, object }, remedy }
    }
}

// === impl Denied ===

impl Remedy for Denied {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        Some(self.remedy.clone().into())
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (right, object) = match self {
            Self::Use { right, object } => (right, object),
            Self::Advertise { host, allowed } => {
                let allowed: Vec<_> = allowed.iter().map(IpNetwork::to_string).collect();
                return write!(
                    f,
                    "advertise {host}, expected an address in {}",
                    allowed.join(", ")
                );
            }
        };
        f.write_str(match right {
            Right::Read => "read",
            Right::Watch => "watch",
            Right::Register => "register or change",
            Right::Heartbeat => "renew or report the health of",
            Right::Configure => "change the settings of",
            Right::Metrics => "read the metrics",
            Right::Administer => "administer the registry",
        })?;
        match object {
            Some((scope, name)) if scope.is_default() => write!(f, " {name}: ")?,
            Some((scope, name)) => write!(f, " {name} in the scope {scope}: ")?,
            None if right.concerns_services() => f.write_str(" any service: ")?,
            None => f.write_str(": ")?,
        }
        write!(f, "the right `{right}` is missing")
    }
}

// === impl Rule ===

impl Rule {
    fn permits(&self, right: Right) -> bool {
        self.is_administrator() || self.rights.contains(&right)
    }

    fn is_administrator(&self) -> bool {
        self.rights.contains(&Right::Administer)
    }

    fn has(&self, scope: &Scope, name: &ServiceName) -> bool {
        self.has_any(std::slice::from_ref(scope), std::slice::from_ref(name))
    }

    fn has_any(&self, scopes: &[Scope], names: &[ServiceName]) -> bool {
        let scope = |scope: &Scope| self.scopes.iter().any(|pattern| pattern.matches(scope));
        // Whoever could change the policies could give themselves every right.
        let name = |name: &ServiceName| {
            !is_access_control(name) && self.services.iter().any(|pattern| pattern.matches(name))
        };
        self.is_administrator()
            || ((scopes.is_empty() || scopes.iter().any(scope))
                && (names.is_empty() || names.iter().any(name)))
    }

    fn allows(&self, address: Option<IpAddr>) -> bool {
        let has = |address| self.addresses.iter().any(|network| network.contains(address));
        self.addresses.is_empty() || address.is_some_and(has)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(rules: &str) -> Grants {
        Grants::new("payments", serde_saphyr::from_str(rules).unwrap(), Revision(7))
    }

    fn names(scope: &str, name: &str) -> (Scope, ServiceName) {
        (scope.parse().unwrap(), name.parse().unwrap())
    }

    #[test]
    fn rights_extend_to_the_services_of_their_rule() {
        let grants = grants(
            "[{rights: [register], scopes: [production], services: [pay-*]}, {rights: [read], scopes: ['*'], services: ['*']}]",
        );
        for (right, scope, name, expected) in [
            (Right::Register, "production", "pay-api", true),
            (Right::Register, "production", "api", false),
            (Right::Register, "default", "pay-api", false),
            (Right::Read, "default", "api", true),
            (Right::Watch, "default", "api", false),
        ] {
            let (scope, name) = names(scope, name);
            assert_eq!(grants.permit(right, &scope, &name), expected, "{right} {scope} {name}");
            assert_eq!(grants.check(right, &scope, &name).is_ok(), expected);
        }
        assert!(grants.check_any(Right::Register, &[], &[]).is_ok());
        let (scope, name) = names("production", "api");
        assert!(grants.check_any(Right::Register, &[], std::slice::from_ref(&name)).is_err());
        assert!(grants.check_any(Right::Register, &[scope], &[]).is_ok());
        assert!(grants.check_server(Right::Metrics).is_err());
    }

    #[test]
    fn administrator_may_do_everything() {
        let grants = grants("[{rights: [administer]}]");
        let (scope, name) = names("any", "thing");
        for right in Right::ALL {
            assert!(grants.permit(right, &scope, &name), "{right}");
            assert!(grants.check_server(right).is_ok(), "{right}");
        }
        assert!(grants.check_address(&scope, &name, &"10.0.0.7".parse().unwrap()).is_ok());
    }

    #[test]
    fn policies_of_the_registry_are_for_administrators_only() {
        let every =
            "[{rights: [read, watch, register, configure], scopes: ['*'], services: ['*']}]";
        let (scope, name) = names("default", crate::STORED_POLICIES);
        let several = grants(every);
        for right in [Right::Read, Right::Watch, Right::Register, Right::Configure] {
            let denied = several.check(right, &scope, &name).unwrap_err();
            assert!(denied.to_string().ends_with("the right `administer` is missing"), "{denied}");
            assert!(several.check_any(right, &[], std::slice::from_ref(&name)).is_err());
        }
        assert!(grants("[{rights: [administer]}]").permit(Right::Configure, &scope, &name));
    }

    #[test]
    fn addresses_are_of_the_networks_of_a_rule() {
        let grants = grants(
            "[{rights: [register], scopes: ['*'], services: [pay], addresses: [10.1.0.0/16, 'fd00::/8']}, \
              {rights: [read], scopes: ['*'], services: [pay]}]",
        );
        let (scope, name) = names("default", "pay");
        let check = |host: &str| grants.check_address(&scope, &name, &host.parse().unwrap());
        for host in ["10.1.2.3", "fd00::1", "::ffff:10.1.2.3"] {
            check(host).unwrap();
        }
        for host in ["10.2.0.1", "127.0.0.1", "pay.example.org"] {
            check(host).unwrap_err();
        }
    }

    #[test]
    fn denials_name_the_right_that_is_missing() {
        let grants = grants(
            "[{rights: [register], scopes: ['*'], services: [pay], addresses: [10.1.0.0/16]}]",
        );
        let (scope, name) = names("production", "api");
        let mut texts = Vec::new();
        for right in Right::ALL {
            texts.push(grants.check(right, &scope, &name).unwrap_err().with_remedy());
        }
        let (scope, name) = names("default", "pay");
        texts.push(grants.check(Right::Read, &scope, &name).unwrap_err().with_remedy());
        texts.push(grants.check_any(Right::Watch, &[], &[]).unwrap_err().with_remedy());
        texts.push(grants.check_server(Right::Metrics).unwrap_err().with_remedy());
        let host = "10.2.0.1".parse().unwrap();
        texts.push(grants.check_address(&scope, &name, &host).unwrap_err().with_remedy());
        insta::assert_snapshot!(texts.join("\n"));
    }
}
