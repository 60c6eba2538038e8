//! The server over real sockets, on loopback.

mod auth;
mod dialects;
mod errors;
mod listeners;
mod support;
mod transport;
mod unix;
