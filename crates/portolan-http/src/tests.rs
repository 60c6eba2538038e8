//! The server over real sockets, on loopback.

mod auth;
mod dialects;
mod errors;
mod support;
mod transport;
mod unix;
