//! Granting ports: which ports a service may have, in which order they are tried, and how one of
//! them becomes a lease.

pub(crate) mod bind_retry;
pub(crate) mod binder;
pub(crate) mod limiter;
pub(crate) mod policy;
pub(crate) mod port_order;
pub(crate) mod probe_cache;
pub(crate) mod rejection;
pub(crate) mod search;
