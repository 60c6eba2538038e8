//! The API over real sockets, on loopback.

mod access;
mod problems;
mod services;
mod support;
mod transport;
mod watching;
