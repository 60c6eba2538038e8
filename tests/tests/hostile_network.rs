//! Clients, web pages and hosts that mean harm to a registry.

mod audit_log;
mod checks;
mod datagrams;
mod memory;
mod web_pages;
