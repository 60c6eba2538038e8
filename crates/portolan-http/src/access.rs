//! Access control: the clients that a server knows, and what each request proves.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use portolan_access::{Credential, Found, Grants, Identities, digest};
use subtle::ConstantTimeEq;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::RequestError;

/// The longest sleep until a token expires: the clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The clients that a server knows. Open by default: it requires nothing of them.
#[derive(Debug, Clone, Default)]
pub struct AccessControl {
    /// The digest of a token that permits everything. Digests have the same length, so the comparison takes the same time
    /// whatever token was sent.
    token: Option<[u8; 32]>,
    identities: Option<Identities>,
    /// Whether the identities are not known yet.
    is_loading: bool,
}

/// What a request proves about its client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// The digest of the token.
    pub(crate) token: Option<[u8; 32]>,
    /// The names in the certificate of the client itself.
    pub(crate) certificate: Option<Arc<[String]>>,
    /// The user of a client on this host.
    pub(crate) user: Option<u32>,
}

/// Who makes a request, as far as its credentials say. An extension of every request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Principal {
    /// Anyone: the server requires no credentials.
    Unrestricted,
    /// A client with the token that permits everything.
    Authenticated,
    /// A client with a certificate of an authority that the server trusts, at a server without policies. The peer has its
    /// names.
    Certified,
    /// A client with an identity.
    Identity {
        /// What it may do.
        grants: Arc<Grants>,
        /// What proves it.
        credential: Credential,
        /// When the credential expires.
        until: Option<Timestamp>,
    },
    /// A client without credentials.
    Anonymous,
    /// A client whose credentials are not valid here.
    Unknown,
    /// A client whose credentials cannot be judged yet, because the policies are not loaded.
    Undetermined,
    /// A client whose token has expired.
    Expired {
        /// The id of the token.
        id: String,
        /// When it expired.
        at: Timestamp,
    },
}

/// Whether the client of a response that goes on is still who it was.
#[derive(Debug, Clone)]
pub struct Standing {
    access: watch::Receiver<Arc<AccessControl>>,
    evidence: Evidence,
    principal: Principal,
}

// === impl AccessControl ===

impl AccessControl {
    /// Requires nothing.
    pub fn open() -> Self {
        Self::default()
    }

    /// Requires this token, which permits everything. An empty token matches nothing.
    pub fn with_token(token: &str) -> Self {
        Self { token: Some(digest(token)), ..Self::default() }
    }

    /// Says that there are identities that are not known yet. Until they are, only the token can be judged.
    pub fn with_identities_to_come(self) -> Self {
        Self { is_loading: true, ..self }
    }

    /// Adds identities, each with its own rights. A client must have one of them, or the token.
    pub fn with_identities(self, identities: Identities) -> Self {
        Self { identities: Some(identities), is_loading: false, ..self }
    }

    /// Whether nothing is required.
    pub fn is_open(&self) -> bool {
        self.token.is_none() && self.identities.is_none() && !self.is_loading
    }

    pub(crate) fn identify(&self, evidence: &Evidence, now: Timestamp) -> Principal {
        match &self.identities {
            None if self.is_open() => Principal::Unrestricted,
            None if self.is_loading => match self.token_principal(evidence, now) {
                Some(Principal::Authenticated) => Principal::Authenticated,
                _ => Principal::Undetermined,
            },
            // Without policies, every authority that the server trusts is trusted with everything.
            None if evidence.certificate.is_some() => Principal::Certified,
            None => self.token_principal(evidence, now).unwrap_or(Principal::Anonymous),
            Some(identities) => self.token_principal(evidence, now).unwrap_or_else(|| {
                let of_names = |names: &Arc<[String]>| identities.of_certificate(names);
                let of_certificate = evidence.certificate.as_ref().and_then(of_names);
                let of_user = || evidence.user.and_then(|user| identities.of_user(user));
                let found = of_certificate.or_else(of_user).or_else(|| identities.anonymous());
                found.map_or(Principal::Anonymous, Principal::from)
            }),
        }
    }

    /// The principal of the token, if one was sent.
    fn token_principal(&self, evidence: &Evidence, now: Timestamp) -> Option<Principal> {
        let sent = evidence.token?;
        if self.token.is_some_and(|expected| sent.ct_eq(&expected).into()) {
            return Some(Principal::Authenticated);
        }
        let found = self.identities.as_ref().and_then(|it| it.of_token(&sent, now));
        Some(found.map_or(Principal::Unknown, Principal::from))
    }
}

// === impl Principal ===

impl Principal {
    /// Returns the name in the audit log.
    pub fn name(&self) -> &str {
        match self {
            Self::Unrestricted => "anyone",
            Self::Authenticated => "token",
            Self::Certified => "certificate",
            Self::Identity { grants, .. } => grants.identity(),
            Self::Anonymous => "anonymous",
            Self::Unknown => "unknown",
            Self::Undetermined => "undetermined",
            Self::Expired { .. } => "expired",
        }
    }

    /// Returns what the principal may do; `None` if that is not limited.
    pub fn grants(&self) -> Option<&Arc<Grants>> {
        match self {
            Self::Identity { grants, .. } => Some(grants),
            _ => None,
        }
    }

    /// Checks that the principal may use routes that require authentication.
    ///
    /// # Errors
    ///
    /// [`RequestError::Unauthorized`] without credentials, [`RequestError::Forbidden`] if they are
    /// not valid, [`RequestError::TokenExpired`] if they were, [`RequestError::PoliciesLoading`] if that is not known yet.
    pub fn authorize(&self) -> Result<(), RequestError> {
        match self {
            Self::Unrestricted | Self::Authenticated | Self::Certified | Self::Identity { .. } => {
                Ok(())
            }
            Self::Anonymous => Err(RequestError::Unauthorized),
            Self::Unknown => Err(RequestError::Forbidden),
            Self::Undetermined => Err(RequestError::PoliciesLoading),
            Self::Expired { id, at } => Err(RequestError::TokenExpired { id: id.clone(), at: *at }),
        }
    }

    /// Whether it is the same client with the same rights.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Identity { grants, .. }, Self::Identity { grants: others, .. }) => {
                grants.is_same(others)
            }
            _ => self == other,
        }
    }

    fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Identity { until, .. } => *until,
            _ => None,
        }
    }
}

impl From<Found> for Principal {
    fn from(found: Found) -> Self {
        match found {
            Found::Identity { grants, credential, until } => {
                Self::Identity { grants, credential, until }
            }
            Found::Expired { id, at } => Self::Expired { id, at },
        }
    }
}

// === impl Standing ===

impl Standing {
    pub(crate) fn new(
        access: watch::Receiver<Arc<AccessControl>>,
        evidence: Evidence,
        principal: Principal,
    ) -> Self {
        Self { access, evidence, principal }
    }

    /// Waits until the client has lost its credentials, or has other rights.
    pub async fn changed(mut self) {
        loop {
            let access = Arc::clone(&self.access.borrow_and_update());
            let now = Timestamp::now();
            if !access.identify(&self.evidence, now).is_same(&self.principal) {
                return;
            }
            let changed = async {
                if self.access.changed().await.is_err() {
                    // The server keeps what it has.
                    pending::<()>().await;
                }
            };
            match self.principal.until() {
                None => changed.await,
                // Whichever it was, the next round looks.
                Some(until) => {
                    let left = until.duration_since(now).unsigned_abs().min(LONGEST_SLEEP);
                    _ = timeout(left, changed).await;
                }
            }
        }
    }
}
