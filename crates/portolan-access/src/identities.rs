//! The identities of a server, by their credentials.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use portolan_core::Revision;

use crate::{ANONYMOUS, Grants, Policies, TokenFile};

/// Policies and tokens, ready for use.
#[derive(Debug, Clone, Default)]
pub struct Identities {
    /// By the digest, which nobody can choose, so that the time of a lookup tells nothing about a token.
    tokens: HashMap<[u8; 32], Token>,
    certificates: HashMap<String, Arc<Grants>>,
    users: HashMap<u32, Arc<Grants>>,
    anonymous: Option<Arc<Grants>>,
}

#[derive(Debug, Clone)]
struct Token {
    id: String,
    expires: Option<Timestamp>,
    grants: Arc<Grants>,
}

/// What proves an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// The token with this id.
    Token(String),
    /// The certificate with this name.
    Certificate(String),
    /// The user on this host with this id.
    User(u32),
    /// Nothing.
    Anonymous,
}

/// Who a credential proves.
#[derive(Debug, Clone)]
pub enum Found {
    /// This identity, until the time.
    Identity {
        /// Its rights.
        grants: Arc<Grants>,
        /// What proves it.
        credential: Credential,
        /// When the credential expires.
        until: Option<Timestamp>,
    },
    /// Nobody any more: the token has expired.
    Expired {
        /// The id of the token.
        id: String,
        /// When it expired.
        at: Timestamp,
    },
}

// === impl Identities ===

impl Identities {
    /// Compiles policies and tokens that come into force at this revision of the registry. Tokens of unknown identities
    /// prove nothing.
    pub fn new(policies: &Policies, tokens: &TokenFile, since: Revision) -> Self {
        let grants: HashMap<&str, Arc<Grants>> = policies
            .identities
            .iter()
            .map(|(name, identity)| {
                let grants = Grants::new(name.as_str(), policies.rules(identity), since)
                    .with_limits(identity.limits);
                (name.as_str(), Arc::new(grants))
            })
            .collect();
        let mut identities = Self { anonymous: grants.get(ANONYMOUS).cloned(), ..Self::default() };
        for (name, identity) in &policies.identities {
            let grants = &grants[name.as_str()];
            let certificates = identity.certificates.iter();
            identities
                .certificates
                .extend(certificates.map(|name| (name.clone(), Arc::clone(grants))));
            identities.users.extend(identity.users.iter().map(|user| (*user, Arc::clone(grants))));
        }
        for record in tokens.records().iter().filter(|record| record.identity != ANONYMOUS) {
            let Some(grants) = grants.get(record.identity.as_str()).map(Arc::clone) else {
                continue;
            };
            let (id, expires) = (record.id.clone(), record.expires);
            identities.tokens.insert(record.sha256.0, Token { id, expires, grants });
        }
        identities
    }

    /// Adds an identity that is proved by the token with this digest. Its id is `configured`.
    pub fn with_token(mut self, digest: [u8; 32], grants: Grants) -> Self {
        let (id, grants) = ("configured".to_owned(), Arc::new(grants));
        self.tokens.insert(digest, Token { id, expires: None, grants });
        self
    }

    /// Adds an identity that is proved by this user of the host.
    pub fn with_user(mut self, user: u32, grants: Grants) -> Self {
        self.users.insert(user, Arc::new(grants));
        self
    }

    /// Sets what clients may do that prove no identity.
    pub fn with_anonymous(mut self, grants: Grants) -> Self {
        self.anonymous = Some(Arc::new(grants));
        self
    }

    /// Finds the identity of the token with this digest.
    pub fn of_token(&self, digest: &[u8; 32], now: Timestamp) -> Option<Found> {
        let Token { id, expires, grants } = self.tokens.get(digest)?;
        Some(match *expires {
            Some(at) if at <= now => Found::Expired { id: id.clone(), at },
            until => {
                let credential = Credential::Token(id.clone());
                Found::Identity { grants: Arc::clone(grants), credential, until }
            }
        })
    }

    /// Finds the identity of a certificate with these names.
    pub fn of_certificate(&self, names: &[String]) -> Option<Found> {
        let (name, grants) = names.iter().find_map(|name| self.certificates.get_key_value(name))?;
        Some(Found::proved(grants, Credential::Certificate(name.clone())))
    }

    /// Finds the identity of a user of this host.
    pub fn of_user(&self, user: u32) -> Option<Found> {
        let grants = self.users.get(&user)?;
        Some(Found::proved(grants, Credential::User(user)))
    }

    /// Returns the identity of clients that prove none, if there is one.
    pub fn anonymous(&self) -> Option<Found> {
        let grants = self.anonymous.as_ref()?;
        Some(Found::proved(grants, Credential::Anonymous))
    }
}

// === impl Found ===

impl Found {
    fn proved(grants: &Arc<Grants>, credential: Credential) -> Self {
        Self::Identity { grants: Arc::clone(grants), credential, until: None }
    }
}

// === impl Credential ===

impl std::fmt::Display for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Token(id) => write!(f, "token:{id}"),
            Self::Certificate(name) => write!(f, "certificate:{name}"),
            Self::User(user) => write!(f, "uid:{user}"),
            Self::Anonymous => f.write_str("none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NewToken;

    const POLICIES: &str = "\
policies:
  reader: [{rights: [read], scopes: ['*'], services: ['*']}]
identities:
  api: {policies: [reader], certificates: ['spiffe://example.org/api'], users: [1001]}
  anonymous: {policies: [reader]}
";

    fn identity(found: Option<Found>) -> Option<(String, String)> {
        match found? {
            Found::Identity { grants, credential, .. } => {
                Some((grants.identity().to_owned(), credential.to_string()))
            }
            Found::Expired { id, at } => Some(("expired".to_owned(), format!("{id} {at}"))),
        }
    }

    #[test]
    fn credentials_prove_their_identity() {
        let policies: Policies = serde_saphyr::from_str(POLICIES).unwrap();
        let (now, later) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        let (now, later): (Timestamp, Timestamp) = (now.parse().unwrap(), later.parse().unwrap());
        let mut tokens = TokenFile::default();
        let (first, second) =
            (NewToken::new("api", now, None), NewToken::new("api", now, Some(later)));
        let foreign = NewToken::new("nobody", now, None);
        let nobody = NewToken::new(ANONYMOUS, now, None);
        for token in [&first, &second, &foreign, &nobody] {
            tokens.add(token.record.clone());
        }
        let identities = Identities::new(&policies, &tokens, Revision(1));
        let of = |token: &NewToken, at| {
            identity(identities.of_token(&crate::digest(token.secret.expose()), at))
        };
        let proved = |how: String| Some(("api".to_owned(), how));
        assert_eq!(of(&first, later), proved(format!("token:{}", first.record.id)));
        assert_eq!(of(&second, now), proved(format!("token:{}", second.record.id)), "two valid");
        let expired = ("expired".to_owned(), format!("{} 2026-01-02T00:00:00Z", second.record.id));
        assert_eq!(of(&second, later), Some(expired));
        assert_eq!((of(&foreign, now), of(&nobody, now)), (None, None));
        let names = ["api.example.org".to_owned(), "spiffe://example.org/api".to_owned()];
        let certified = identity(identities.of_certificate(&names));
        assert_eq!(certified, proved("certificate:spiffe://example.org/api".to_owned()));
        assert_eq!(identity(identities.of_certificate(&names[..1])), None);
        assert_eq!(identity(identities.of_user(1001)), proved("uid:1001".to_owned()));
        assert_eq!(identity(identities.of_user(0)), None);
        assert_eq!(identity(identities.anonymous()).unwrap().0, ANONYMOUS);
    }
}
