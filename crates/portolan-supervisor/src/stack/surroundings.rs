//! What a stack is given, and how it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use portolan_client::DiscoveryClient;
use portolan_core::{Host, Pools, Protocol, Scope, Ttl};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::status::InstanceStatus;
use crate::child::WindowSize;

/// What all services of a stack have in common.
#[derive(Debug, Clone)]
pub struct StackContext {
    /// The scope of the stack.
    pub scope: Scope,
    /// The directory of the stack file.
    pub folder: PathBuf,
    /// The host under which the services are registered.
    pub host: Host,
    /// The TTL of services that set none.
    pub ttl: Ttl,
    /// Environment variables of every service.
    pub environment: BTreeMap<String, String>,
    /// The pool catalogue, which decides the port that each service prefers.
    pub pools: Pools,
    /// Further schemes of the URLs that programs get, beside the protocols in the file.
    pub url_schemes: BTreeSet<Protocol>,
    /// The size of the terminals of the programs.
    pub window: watch::Receiver<WindowSize>,
}

/// The discovery clients of a stack.
#[derive(Debug, Clone)]
pub struct StackClients {
    /// Finds what services need.
    pub discovery: DiscoveryClient,
    /// The same without a cache, for files, which follow changes themselves.
    pub uncached: DiscoveryClient,
}

/// Requests the end of a stack.
#[derive(Debug, Clone, Default)]
pub struct StopRequest {
    /// Cancelled to stop the services in reverse dependency order, each with its grace period.
    pub stop: CancellationToken,
    /// Cancelled to end the grace periods.
    pub force: CancellationToken,
}

/// How a stack ended.
#[derive(Debug, Clone)]
pub struct StackEnd {
    /// The final status of every instance.
    pub rows: Vec<InstanceStatus>,
    /// The exit status of the first instance that failed; 0 if none did.
    pub exit_code: u8,
}
