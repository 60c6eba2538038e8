//! Limits of the HTTP server.

use std::time::Duration;

/// Limits of the HTTP server. Each protects against clients that are slow, gone or too many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpLimits {
    /// The maximum number of open connections per listener. Default 10,000: a watch holds one for
    /// its whole life. Connections beyond the limit are answered with 503.
    pub connections: usize,
    /// How long a client may take to send the head of a request, how long a connection may be
    /// idle between requests, and how long a listener's handshake may take. Default 30 s: longer
    /// than most heartbeat intervals, so that clients can reuse connections.
    pub head: Duration,
    /// How long a client may take to send the body of a request. Default 10 s. Answered with 408.
    pub body: Duration,
    /// How long a request may take until its response begins, body included. Default 20 s.
    /// Answered with 503.
    pub request: Duration,
    /// How long a client may read nothing of a response before the connection is cut. Default
    /// 5 s: until then its response takes memory.
    pub write: Duration,
    /// The maximum size of a request body in bytes. Default 1 MiB: enough for a batch of 1,000
    /// registrations. Answered with 413.
    pub body_bytes: usize,
    /// How long requests in progress may take after the shutdown began. Default 2 s: they need
    /// milliseconds, and watches end at once.
    pub drain: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            head: Duration::from_secs(30),
            body: Duration::from_secs(10),
            request: Duration::from_secs(20),
            write: Duration::from_secs(5),
            body_bytes: 1024 * 1024,
            drain: Duration::from_secs(2),
        }
    }
}
