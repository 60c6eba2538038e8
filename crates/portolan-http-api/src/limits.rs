//! How much the API puts up with.

use std::time::Duration;

/// How much the API puts up with before it says no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How many connections are open at once. Default 10,000: a watch holds one for as long as it
    /// lasts. Who comes beyond it is answered 503.
    pub connections: usize,
    /// How long a client may take for the head of a request, and be idle between two. Default
    /// 30 s: longer than most heartbeat intervals, so that connections are used again.
    pub head: Duration,
    /// How long a client may take for the body of a request. Default 10 s.
    pub body: Duration,
    /// How long a request may take in all until its answer begins. Default 20 s: the body and
    /// what the registry may take for it.
    pub request: Duration,
    /// How long a client may leave an answer untouched before the connection is cut. Default
    /// 30 s: a reader that slow is taken for gone.
    pub write: Duration,
    /// How many bytes the body of a request may have. Default 1 MiB: room for a batch of 1,000.
    pub body_bytes: usize,
    /// How long open requests may take to end after the shutdown. Default 2 s: they need
    /// milliseconds, and watches end at once.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            head: Duration::from_secs(30),
            body: Duration::from_secs(10),
            request: Duration::from_secs(20),
            write: Duration::from_secs(30),
            body_bytes: 1024 * 1024,
            drain: Duration::from_secs(2),
        }
    }
}
