//! The API over real sockets, on loopback.

mod auth;
mod check_results;
mod config;
mod contract;
mod declared;
mod failure_reports;
mod lookups;
mod owners;
mod permissions;
mod problems;
mod reach;
mod services;
mod sessions;
mod settings;
mod support;
mod watching;
