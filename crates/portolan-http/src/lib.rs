//! HTTP server for several API dialects on any kind of listener.
//!
//! Three seams, each independent of the others:
//!
//! - A [`Listener`] accepts byte streams. TCP and Unix sockets are implemented here, one file each.
//! - An [`Authenticator`] finds credentials in a request and attaches a [`Principal`] to it.
//! - A [`Dialect`] is one API: its routes and its [`ErrorResponses`]. The dialect with the longest
//!   matching path prefix answers a request, and words every error of it: 401, 403, 404, 405, body
//!   errors, panics, timeouts and overload.
//!
//! [`serve`] enforces the [`HttpLimits`], drains connections at shutdown, and writes the access log
//! ([`ACCESS_LOG`]). It knows nothing of what the dialects serve.
//!
//! Exception: if hyper cannot parse the head of a request, or the head is longer than 64 KiB, hyper
//! answers 400 or 431 without a body and closes the connection. No dialect is involved.
//!
//! ```no_run
//! use axum::{Router, response::IntoResponse, routing::get};
//! use portolan_http::{Dialect, HttpLimits, RequestError, serve};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let errors = |error: &RequestError| (error.status(), error.to_string()).into_response();
//! let dialect = Dialect::new(Router::new().route("/ping", get(async || "pong")), errors);
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:7000").await?;
//! serve(listener, [dialect], HttpLimits::default(), async { drop(tokio::signal::ctrl_c().await) }).await?;
//! # Ok(())
//! # }
//! ```

mod access;
mod auth;
mod authorize;
mod body;
mod caller;
mod clients;
mod connection;
mod dialect;
mod error;
mod hosts;
mod identity_limits;
mod limited_resource;
mod limits;
mod listener;
mod middleware;
mod policy;
mod prepared;
mod read_body;
mod rejections;
mod server;
mod slots;
mod write_timeout;

pub(crate) use access::Evidence;
pub use access::{AccessControl, Principal, Standing};
pub use auth::{Authenticator, CredentialSource};
pub use authorize::{Authorize, AuthorizeLayer};
pub use body::LimitedBody;
pub use caller::Caller;
pub use clients::ClientLimits;
pub(crate) use clients::ClientPermit;
pub use connection::{ConnectionInfo, ResponsePermit, StreamPermit};
pub use dialect::{Dialect, ErrorResponses};
pub use error::{Rejected, RequestError};
pub use hosts::AllowedHosts;
pub(crate) use identity_limits::{IdentityPermit, IdentityUsages};
pub use limited_resource::LimitedResource;
pub use limits::HttpLimits;
#[cfg(feature = "tls")]
pub use listener::TlsListener;
pub use listener::{Listener, Peer};
pub use middleware::ACCESS_LOG;
pub use policy::{HttpPolicy, HttpState};
pub use prepared::PreparedAnswers;
pub use server::{ServeError, serve};

#[cfg(test)]
mod tests;
