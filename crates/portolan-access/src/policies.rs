//! The policies that a person writes.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use portolan_core::{IpNetwork, Remedy, Scope, ServiceName, suggest};
use serde::{Deserialize, Serialize};

use crate::{Pattern, Right};

/// The identity of clients that prove none.
pub const ANONYMOUS: &str = "anonymous";
/// The longest name of an identity or a policy.
const MAX_NAME: usize = 64;

/// Policies, and the identities that have them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policies {
    /// Rules by the name of their policy.
    pub policies: BTreeMap<String, Vec<Rule>>,
    /// The identities by name. `anonymous` is every client that proves no other one.
    pub identities: BTreeMap<String, Identity>,
}

/// Rights with services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The rights.
    pub rights: Vec<Right>,
    /// The scopes of the services. Required for a right that concerns services.
    #[serde(default)]
    pub scopes: Vec<Pattern<Scope>>,
    /// The names of the services. Required for a right that concerns services.
    #[serde(default)]
    pub services: Vec<Pattern<ServiceName>>,
    /// The addresses that instances may advertise; any if empty.
    #[serde(default)]
    pub addresses: Vec<IpNetwork>,
}

/// An identity, and what proves it besides its tokens.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Identity {
    /// The names of its policies.
    pub policies: Vec<String>,
    /// The names in its certificates: URIs, such as SPIFFE IDs, or DNS names. One of them in a certificate of a trusted
    /// authority proves the identity.
    pub certificates: Vec<String>,
    /// The ids of its users on this host, as the socket of the registry reports them.
    pub users: Vec<u32>,
    /// How much all clients with the identity may use together.
    pub limits: IdentityLimits,
}

/// How much all clients with an identity may use together, wherever they are. The limits of each host hold as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdentityLimits {
    /// The maximum rate of requests a second; four times as many at once. Not limited if not given.
    pub requests_per_second: Option<u32>,
    /// The maximum number of watches at the same time. Not limited if not given.
    pub watches: Option<usize>,
    /// The maximum number of instances that are registered. Not limited if not given.
    pub endpoints: Option<usize>,
    /// The most memory in MiB that responses take while they are read. Not limited if not given.
    pub response_mib: Option<usize>,
}

/// Why policies are invalid. Retrying does not help: they must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPolicies {
    /// A name cannot be used.
    #[error(
        "{path}: the name is not usable, expected 1 to {MAX_NAME} ASCII letters, digits, '-', '_' and '.'"
    )]
    Name {
        /// The path of the name.
        path: String,
    },
    /// A rule has no rights.
    #[error("{path}.rights: it is empty, expected one or more of {}", rights())]
    NoRights {
        /// The path of the rule.
        path: String,
    },
    /// A rule does not say for which services its rights are.
    #[error(
        "{path}.{key}: it is missing, but the right `{right}` is for the services of some {key}"
    )]
    NoServices {
        /// The path of the rule.
        path: String,
        /// The missing key.
        key: &'static str,
        /// A right of the rule.
        right: Right,
    },
    /// A rule limits addresses and does not permit registering any.
    #[error("{path}.addresses: the rule has no right `register`, whose addresses they would limit")]
    AddressesWithoutRegister {
        /// The path of the rule.
        path: String,
    },
    /// An identity names a policy that does not exist.
    #[error("{path}.policies: there is no policy {policy:?}")]
    UnknownPolicy {
        /// The path of the identity.
        path: String,
        /// The policy.
        policy: String,
        /// The policy that was probably meant.
        nearest: Option<String>,
    },
    /// Two identities are proved by the same certificate or user.
    #[error("{path}: {what} is also of {other}, expected a different one for each identity")]
    Shared {
        /// The path of the second one.
        path: String,
        /// The certificate or user.
        what: String,
        /// The identity that has it already.
        other: String,
    },
    /// A limit permits nothing.
    #[error("{path}: it is 0, which permits nothing")]
    Zero {
        /// The path of the limit.
        path: String,
    },
    /// The anonymous identity has a credential.
    #[error("identities.{ANONYMOUS}.{key}: clients without an identity prove nothing")]
    AnonymousProof {
        /// The key.
        key: &'static str,
    },
}

// === impl Policies ===

impl Policies {
    /// Checks every constraint that the types do not express.
    ///
    /// # Errors
    ///
    /// The first one that is not met.
    pub fn validate(&self) -> Result<(), InvalidPolicies> {
        for (name, rules) in &self.policies {
            check_name(name, || format!("policies.{name}"))?;
            for (index, rule) in rules.iter().enumerate() {
                rule.validate(|| format!("policies.{name}[{index}]"))?;
            }
        }
        let mut proofs = BTreeMap::new();
        for (name, identity) in &self.identities {
            let path = format!("identities.{name}");
            check_name(name, || path.clone())?;
            self.check_identity(name, &path, identity)?;
            for (key, proof) in identity.proofs() {
                if let Some(other) = proofs.insert(proof.clone(), name) {
                    let (path, other) = (format!("{path}.{key}"), other.clone());
                    return Err(InvalidPolicies::Shared { path, what: proof, other });
                }
            }
        }
        Ok(())
    }

    fn check_identity(
        &self,
        name: &str,
        path: &str,
        identity: &Identity,
    ) -> Result<(), InvalidPolicies> {
        if let Some(policy) = identity.policies.iter().find(|it| !self.policies.contains_key(*it)) {
            let names = self.policies.keys().map(String::as_str);
            let nearest = suggest(policy, names).map(str::to_owned);
            let (path, policy) = (path.to_owned(), policy.clone());
            return Err(InvalidPolicies::UnknownPolicy { path, policy, nearest });
        }
        let IdentityLimits { requests_per_second, watches, endpoints, response_mib } =
            identity.limits;
        let zeros = [
            ("requests_per_second", requests_per_second == Some(0)),
            ("watches", watches == Some(0)),
            ("endpoints", endpoints == Some(0)),
            ("response_mib", response_mib == Some(0)),
        ];
        if let Some((key, _)) = zeros.into_iter().find(|(_, is_zero)| *is_zero) {
            return Err(InvalidPolicies::Zero { path: format!("{path}.limits.{key}") });
        }
        match identity.proofs().next() {
            Some((key, _)) if name == ANONYMOUS => Err(InvalidPolicies::AnonymousProof { key }),
            _ => Ok(()),
        }
    }

    /// Returns the rules of an identity.
    pub(crate) fn rules(&self, identity: &Identity) -> Vec<Rule> {
        let names: BTreeSet<&String> = identity.policies.iter().collect();
        names.into_iter().filter_map(|name| self.policies.get(name)).flatten().cloned().collect()
    }
}

// === impl Rule ===

impl Rule {
    fn validate(&self, path: impl Fn() -> String) -> Result<(), InvalidPolicies> {
        if self.rights.is_empty() {
            return Err(InvalidPolicies::NoRights { path: path() });
        }
        if !self.addresses.is_empty() && !self.rights.contains(&Right::Register) {
            return Err(InvalidPolicies::AddressesWithoutRegister { path: path() });
        }
        let Some(&right) = self.rights.iter().find(|right| right.concerns_services()) else {
            return Ok(());
        };
        let missing = [("scopes", self.scopes.is_empty()), ("services", self.services.is_empty())];
        match missing.into_iter().find(|(_, is_missing)| *is_missing) {
            Some((key, _)) => Err(InvalidPolicies::NoServices { path: path(), key, right }),
            None => Ok(()),
        }
    }
}

// === impl Identity ===

impl Identity {
    fn proofs(&self) -> impl Iterator<Item = (&'static str, String)> {
        let certificates = self.certificates.iter();
        let certificates =
            certificates.map(|name| ("certificates", format!("the certificate of {name}")));
        let users = self.users.iter().map(|user| ("users", format!("the user {user}")));
        certificates.chain(users)
    }
}

// === impl InvalidPolicies ===

impl InvalidPolicies {
    /// Returns the path of the key to which the error belongs.
    pub fn path(&self) -> String {
        match self {
            Self::Name { path } | Self::Shared { path, .. } | Self::Zero { path } => path.clone(),
            Self::NoRights { path } => format!("{path}.rights"),
            Self::NoServices { path, key, .. } => format!("{path}.{key}"),
            Self::AddressesWithoutRegister { path } => format!("{path}.addresses"),
            Self::UnknownPolicy { path, .. } => format!("{path}.policies"),
            Self::AnonymousProof { key } => format!("identities.{ANONYMOUS}.{key}"),
        }
    }
}

impl Remedy for InvalidPolicies {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::Name { .. } => "choose another name".into(),
            Self::NoRights { .. } => "add a right, or remove the rule".into(),
            Self::NoServices { key, .. } => {
                format!("name the {key}, or write {key}: [\"*\"] for all").into()
            }
            Self::AddressesWithoutRegister { .. } => "remove the addresses, or add register".into(),
            Self::UnknownPolicy { nearest: Some(nearest), .. } => {
                format!("did you mean {nearest:?}?").into()
            }
            Self::UnknownPolicy { .. } => "add the policy under `policies`".into(),
            Self::Shared { .. } => "remove it from one of them".into(),
            Self::Zero { .. } => "raise it, or remove it".into(),
            Self::AnonymousProof { key } => format!("remove {key}").into(),
        })
    }
}

fn check_name(name: &str, path: impl Fn() -> String) -> Result<(), InvalidPolicies> {
    let is_usable = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match (1..=MAX_NAME).contains(&name.len()) && name.chars().all(is_usable) {
        true => Ok(()),
        false => Err(InvalidPolicies::Name { path: path() }),
    }
}

fn rights() -> String {
    Right::ALL.map(Right::as_str).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_place_and_the_remedy() {
        let rule = "{rights: [read], scopes: ['*'], services: ['*']}";
        let texts = [
            "policies: {'a b': []}".to_owned(),
            "policies: {a: [{rights: []}]}".to_owned(),
            "policies: {a: [{rights: [metrics, read], services: ['*']}]}".to_owned(),
            "policies: {a: [{rights: [read], scopes: ['*']}]}".to_owned(),
            "policies: {a: [{rights: [read], scopes: ['*'], services: ['*'], addresses: [10.0.0.0/8]}]}".to_owned(),
            format!("{{policies: {{reader: [{rule}]}}, identities: {{x: {{policies: [raeder]}}}}}}"),
            "identities: {x: {policies: [reader]}}".to_owned(),
            "identities: {x: {users: [7]}, y: {users: [7]}}".to_owned(),
            "identities: {x: {certificates: [a.example]}, y: {certificates: [a.example]}}".to_owned(),
            "identities: {anonymous: {users: [7]}}".to_owned(),
            "identities: {x: {limits: {watches: 0}}}".to_owned(),
            format!("identities: {{{}: {{}}}}", "n".repeat(65)),
        ]
        .map(|yaml| {
            let error = serde_saphyr::from_str::<Policies>(&yaml).unwrap().validate().unwrap_err();
            assert!(error.to_string().starts_with(&error.path()), "{error}");
            error.with_remedy()
        });
        insta::assert_snapshot!(texts.join("\n"));
    }

    #[test]
    fn unknown_keys_and_rights_are_refused() {
        for yaml in [
            "policies: {a: [{rights: [write]}]}",
            "policies: {a: [{right: [read]}]}",
            "identities: {a: {policy: [b]}}",
            "polices: {}",
        ] {
            serde_saphyr::from_str::<Policies>(yaml).unwrap_err();
        }
    }

    #[test]
    fn example_of_the_page_is_valid() {
        let page = include_str!("../../../docs/access-control.md");
        let (_, example) = page.split_once("```yaml\n").unwrap();
        let (example, _) = example.split_once("```").unwrap();
        let policies: Policies = serde_saphyr::from_str(example).unwrap();
        policies.validate().unwrap();
        assert_eq!(policies.identities.len(), 3);
    }
}
