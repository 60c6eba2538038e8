//! TLS: certificates from files that may change while they are used, the identities of clients, and a small
//! certificate authority.
//!
//! [`ServerTls`] and [`ClientTls`] read the PEM files of a [`TlsConfig`](portolan_core::TlsConfig). Both look at the files
//! again when they are used, at most once a second, and go on with what they had if the new contents are invalid.
//! Connections that are open keep their certificates.
//!
//! TLS 1.2 and 1.3, with aws-lc as the only crypto provider.

mod authority;
mod client;
mod connector;
mod error;
mod files;
mod identity;
mod server;

pub use authority::{Authority, IssuedCertificate, Purpose, Request};
pub use client::{ClientTls, trusting_nobody};
pub use connector::ServiceTls;
pub use error::TlsError;
pub use identity::client_names;
pub use server::{ClientCertificates, ServerTls};
pub use tokio_rustls::rustls::ClientConfig;
pub use tokio_rustls::server::TlsStream;

#[cfg(test)]
mod tests;
