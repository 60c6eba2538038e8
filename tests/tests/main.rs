//! The end-to-end tests: the built command and real servers, one module a subject.

mod access_control;
mod attacks;
mod bad_input;
mod cli_output;
#[cfg(feature = "full")]
mod cluster;
#[cfg(feature = "full")]
mod consul;
mod contention;
mod crash_detection;
mod crashes;
mod data_dir;
mod discovery;
#[cfg(feature = "full")]
mod docker;
mod doctor;
mod draining;
#[cfg(feature = "full")]
mod etcd;
mod examples;
mod exit_statuses;
#[cfg(feature = "full")]
mod failure_reports;
mod forged_datagrams;
mod frameworks;
mod graceful_end;
mod handoff;
#[cfg(feature = "full")]
mod hardening;
mod harness;
mod health_checks;
mod helixcode;
mod hostile_network;
#[cfg(feature = "full")]
mod integrations_databases;
#[cfg(feature = "full")]
mod integrations_http;
mod interface;
mod ipv6_only;
#[cfg(feature = "full")]
mod kubernetes;
mod large_stack;
mod late_networks;
mod layers;
mod live_settings;
mod local_boundaries;
mod loopback_names;
mod manual_commands;
mod mass_expiry;
mod metrics;
mod name_servers;
mod network_variants;
mod networks;
mod openapi;
mod owners;
#[cfg(feature = "full")]
mod pauses;
mod ports;
mod proxies;
mod prune;
mod quickstart;
mod readme;
mod registry_srv;
#[cfg(feature = "full")]
mod render;
mod requested_ports;
mod runner;
mod secrets;
mod settings;
mod stack_files;
mod stack_states;
#[cfg(feature = "full")]
mod stale_views;
mod sticky;
mod store_commands;
mod stored_policies;
mod systemd;
mod terminals;
#[cfg(feature = "full")]
mod tls;
mod unique_names;
mod watch;
mod well_known_ports;
mod while_listening;
mod worktrees;
