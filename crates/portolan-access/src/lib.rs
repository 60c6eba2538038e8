//! Access control: who a client is, and what it may do.
//!
//! An *identity* is a name for a client. A client proves it by a token, a certificate, or its user on this host
//! (`SO_PEERCRED`, unix(7)). *Policies* give identities *rights*, by scope and service. Without a policy an identity may do
//! nothing.
//!
//! - [`Policies`] is the file that a person writes: policies and identities.
//! - [`TokenFile`] is the file of the tokens' digests, which `portolan token` writes.
//! - [`Identities`] is both, ready for use: it finds the [`Grants`] of a credential.
//!
//! The crate knows no protocol. A server finds the grants of each request, and passes them on with its commands.

mod file;
mod grants;
mod identities;
mod pattern;
mod policies;
mod right;
mod token;

pub use file::{AccessFileError, read_policies_file, write_secret_file};
pub use grants::{Denied, Grants};
pub use identities::{Credential, Found, Identities};
pub use pattern::{InvalidPattern, Pattern};
pub use policies::{ANONYMOUS, Identity, IdentityLimits, InvalidPolicies, Policies, Rule};
pub use right::Right;
pub use token::{NewToken, TokenFile, TokenRecord, digest};
