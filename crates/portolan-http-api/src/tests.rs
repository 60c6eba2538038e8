//! The API over real sockets, on loopback.

mod auth;
mod contract;
mod problems;
mod services;
mod support;
mod watching;
