//! Access control: who a client is, and what it may do.
//!
//! An *identity* is a name for a client. A client proves it by a token, a certificate, or its user on this host
//! (`SO_PEERCRED`, unix(7)). *Policies* give identities *rights*, by scope and service. Without a policy an identity may do
//! nothing.
//!
//! - [`Policies`] is the file that a person writes: policies and identities.
//! - [`TokenFile`] is the file of the tokens' digests, which `portolan token` writes.
//! - [`StoredTokens`] is the same in the store of a registry, beside policies under the name [`STORED_POLICIES`].
//! - [`Identities`] is both, ready for use: it finds the [`Grants`] of a credential.
//!
//! The crate knows no protocol. A server finds the grants of each request, and passes them on with its commands.

mod file;
mod grants;
mod identities;
mod pattern;
mod policies;
mod right;
mod stored;
mod token;

pub use file::{AccessFileError, read_policies_file, write_secret_file};
pub use grants::{Denied, Grants};
pub use identities::{Credential, Found, Identities};
pub use pattern::{InvalidPattern, Pattern};
pub use policies::{ANONYMOUS, Identity, IdentityLimits, InvalidPolicies, Policies, Rule};
pub use right::Right;
pub use stored::{
    InvalidStoredAccess, STORED_POLICIES, STORED_TOKENS, StoredTokens, check_stored,
    is_access_control, policies_of, stored_policies, stored_tokens, tokens_of,
};
pub use token::{NewToken, TokenFile, TokenRecord, digest};
