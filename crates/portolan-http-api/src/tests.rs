//! The API over real sockets, on loopback.

mod auth;
mod problems;
mod services;
mod support;
mod watching;
