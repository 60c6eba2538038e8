//! Policies and tokens that a registry keeps in its store, each as one document.

use std::borrow::Cow;
use std::sync::LazyLock;

use portolan_core::{Remedy, Scope, ServiceName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{InvalidPolicies, Policies, TokenFile, TokenRecord};

/// The name under which a registry keeps its [`Policies`], in the scope `default`, as if they were the settings of a service. Only
/// the right `administer` concerns it.
pub const STORED_POLICIES: &str = "portolan-policies";
/// The same for its [`StoredTokens`]. They are apart, so that restoring earlier policies restores no revoked token.
pub const STORED_TOKENS: &str = "portolan-tokens";

static POLICIES: LazyLock<ServiceName> = LazyLock::new(|| name(STORED_POLICIES));
static TOKENS: LazyLock<ServiceName> = LazyLock::new(|| name(STORED_TOKENS));

/// What is known of the tokens of identities.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoredTokens {
    /// The records, in the order in which they were created.
    pub tokens: Vec<TokenRecord>,
}

/// Why a document is not one of policies or tokens. Retrying does not help: it must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidStoredAccess {
    /// It has other members.
    #[error("{0}")]
    Syntax(String),
    /// The policies contradict each other.
    #[error(transparent)]
    Policies(#[from] InvalidPolicies),
    /// Two tokens have the same id.
    #[error("tokens: the id {0:?} occurs twice")]
    SharedId(String),
    /// Those of the scope `default` hold for all scopes.
    #[error("the scope {0} has no access control of its own")]
    Scope(Scope),
}

/// Returns the name of the stored policies.
pub fn stored_policies() -> ServiceName {
    POLICIES.clone()
}

/// Returns the name of the stored tokens.
pub fn stored_tokens() -> ServiceName {
    TOKENS.clone()
}

/// Whether the name means the policies or the tokens of the registry.
pub fn is_access_control(name: &ServiceName) -> bool {
    *name == *POLICIES || *name == *TOKENS
}

/// Checks what would be stored under a name; `None` deletes it. Every other name may have anything.
///
/// # Errors
///
/// The first thing that is wrong with it.
pub fn check_stored(
    scope: &Scope,
    name: &ServiceName,
    document: Option<&Value>,
) -> Result<(), InvalidStoredAccess> {
    if !is_access_control(name) {
        return Ok(());
    }
    if !scope.is_default() {
        return Err(InvalidStoredAccess::Scope(scope.clone()));
    }
    match *name == *POLICIES {
        true => policies_of(document).map(drop),
        false => tokens_of(document).map(drop),
    }
}

/// Reads stored policies. Without a document, nobody has a right.
///
/// # Errors
///
/// The first thing that is wrong with them.
pub fn policies_of(document: Option<&Value>) -> Result<Policies, InvalidStoredAccess> {
    let policies: Policies = parse(document)?;
    policies.validate()?;
    Ok(policies)
}

/// Reads stored tokens.
///
/// # Errors
///
/// The first thing that is wrong with them.
pub fn tokens_of(document: Option<&Value>) -> Result<TokenFile, InvalidStoredAccess> {
    let StoredTokens { tokens } = parse(document)?;
    TokenFile::from_records(tokens).map_err(InvalidStoredAccess::SharedId)
}

fn parse<'a, T: Deserialize<'a> + Default>(
    document: Option<&'a Value>,
) -> Result<T, InvalidStoredAccess> {
    let parsed = document.map_or_else(|| Ok(T::default()), T::deserialize);
    parsed.map_err(|error| InvalidStoredAccess::Syntax(error.to_string()))
}

fn name(text: &str) -> ServiceName {
    text.parse().expect("it is a valid name")
}

// === impl InvalidStoredAccess ===

impl Remedy for InvalidStoredAccess {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Syntax(_) => Some("docs/access-control.md has an example".into()),
            Self::Policies(problem) => problem.remedy(),
            Self::SharedId(_) => Some("remove one of them".into()),
            Self::Scope(_) => Some("change that of the scope default".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::NewToken;

    #[test]
    fn documents_are_policies_and_tokens() {
        let document = json!({
            "policies": { "all": [{ "rights": ["administer"] }] },
            "identities": { "api": { "policies": ["all"] } },
        });
        assert_eq!(policies_of(Some(&document)).unwrap().identities.len(), 1);
        assert_eq!(policies_of(None).unwrap(), Policies::default());
        let token = NewToken::new("api", Timestamp::UNIX_EPOCH, None).record;
        let document = json!({ "tokens": [token] });
        assert_eq!(tokens_of(Some(&document)).unwrap().records(), [token]);
        assert_eq!(tokens_of(None).unwrap().records(), []);
    }

    #[test]
    fn damaged_document_is_refused_with_the_reason() {
        let token = NewToken::new("api", Timestamp::UNIX_EPOCH, None).record;
        let shop: Scope = "shop".parse().unwrap();
        let refused = |scope: &Scope, name: &ServiceName, document| {
            check_stored(scope, name, Some(&document)).unwrap_err().with_remedy()
        };
        let default = Scope::default();
        let texts = [
            refused(&default, &POLICIES, json!({ "polices": {} })),
            refused(
                &default,
                &POLICIES,
                json!({ "identities": { "api": { "policies": ["all"] } } }),
            ),
            refused(&default, &TOKENS, json!({ "tokens": [{ "id": "1" }] })),
            refused(&default, &TOKENS, json!({ "tokens": [token, token] })),
            refused(&shop, &TOKENS, json!({ "tokens": [] })),
        ];
        insta::assert_snapshot!(texts.join("\n").replace(&token.id, "ID"));
        check_stored(&shop, &name("api"), Some(&json!({ "workers": 4 }))).unwrap();
    }
}
