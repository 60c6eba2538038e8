//! Access control of a stack's registry: free of set-up for its user, and closed to everybody else's changes.

use portolan_access::{ANONYMOUS, Grants, Identities, Pattern, Right, Rule, digest};
use portolan_core::{Revision, Scope, Secret, hex};

/// What resolves a refusal.
const REMEDY: &str = "do it as the user of the stack, in its network namespace, or with the token that `portolan up --pass-token` gives its programs";

/// The identities of a stack's registry, if none are configured.
#[derive(Debug, Clone)]
pub(crate) struct StackAccess {
    scope: Scope,
    token: Secret,
}

// === impl StackAccess ===

impl StackAccess {
    /// Access to the services of a scope, with a random token for its programs.
    pub(crate) fn new(scope: Scope) -> Self {
        Self { scope, token: hex::encode(&rand::random::<[u8; 32]>()).into() }
    }

    pub(crate) fn token(&self) -> &Secret {
        &self.token
    }

    /// The user of the stack and root may do everything, by the socket of the registry. The programs of the stack may change its
    /// services. Everybody may read, as from a registry without a token.
    pub(crate) fn identities(&self) -> Identities {
        let grants = |name: &str, rules| Grants::new(name, rules, Revision(0)).with_remedy(REMEDY);
        let owner = || grants("owner", vec![rule(&[Right::Administer], None)]);
        let read = || rule(&[Right::Read, Right::Watch, Right::Metrics], None);
        let change = rule(&[Right::Register, Right::Heartbeat], Some(&self.scope));
        Identities::default()
            .with_user(0, owner())
            .with_user(rustix::process::geteuid().as_raw(), owner())
            .with_token(digest(self.token.expose()), grants("stack", vec![read(), change]))
            .with_anonymous(grants(ANONYMOUS, vec![read()]))
    }
}

/// Rights in one scope, or in all.
fn rule(rights: &[Right], scope: Option<&Scope>) -> Rule {
    Rule {
        rights: rights.to_vec(),
        scopes: vec![scope.map_or(Pattern::any(), Pattern::of)],
        services: vec![Pattern::any()],
        addresses: Vec::new(),
    }
}
