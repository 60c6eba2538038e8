//! Ports for tests: a listener, or a number that nobody else has, in one line, in tests that run in
//! parallel with any others.
//!
//! No configuration is needed and none is read. A port is leased from the table that every Portolan
//! process of this user shares, until the value is dropped or the test's process ends, killed or
//! not. So it does not matter whether tests are threads (`cargo test`) or processes (nextest).
//! `portolan::testing` is this crate, which alone builds faster. Knows nothing of registries.
//!
//! A server that the test itself runs gets a bound socket:
//!
//! ```
//! use std::net::TcpStream;
//!
//! let listener = portolan_testing::listener();
//! let _client = TcpStream::connect(listener.address())?;
//! let (_connection, _peer) = listener.accept()?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! A server that binds by number, as one in another process does, gets a number with a guard on it:
//!
//! ```
//! use std::net::TcpListener;
//!
//! let port = portolan_testing::port();
//! println!("redis-server --port {port}");
//! let _as_redis_does = TcpListener::bind(("127.0.0.1", *port))?;
//!
//! let [http, metrics] = portolan_testing::ports();
//! assert_ne!(*http, *metrics);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # A real server
//!
//! These tests of this crate start a Redis each:
//!
//! ```ignore
#![doc = include_str!("../tests/redis.rs")]
//! ```

mod error;
mod grant;
mod listener;
mod port;

use portolan_port_allocator::Depth;

pub use error::TestingError;
pub use listener::Listener;
pub use port::Port;

/// A listener on a port of 127.0.0.1 that nobody else has.
///
/// # Panics
/// There is none; the message says what to do.
#[track_caller]
pub fn listener() -> Listener {
    try_listener().unwrap_or_else(|error| fail(&error))
}

/// A port that nobody else gets, for a program that binds it by its number.
///
/// ```
/// let port = portolan_testing::port();
/// let url = format!("http://127.0.0.1:{port}/");
/// # assert!(url.contains(":2"));
/// ```
///
/// # Panics
/// There is none; the message says what to do.
#[track_caller]
pub fn port() -> Port {
    try_port().unwrap_or_else(|error| fail(&error))
}

/// Several ports at once, all of them or none.
///
/// ```
/// let [http, metrics] = portolan_testing::ports();
/// # assert_ne!(*http, *metrics);
/// ```
///
/// # Panics
/// There are not as many; the message says what to do.
#[track_caller]
pub fn ports<const N: usize>() -> [Port; N] {
    try_ports().unwrap_or_else(|error| fail(&error))
}

/// As [`listener`], for a test that wants to know why there is none.
pub fn try_listener() -> Result<Listener, TestingError> {
    let [lease] = grant::leases(Depth::Bound)?;
    Listener::new(lease)
}

/// As [`port`], for a test that wants to know why there is none.
pub fn try_port() -> Result<Port, TestingError> {
    let [port] = try_ports()?;
    Ok(port)
}

/// As [`ports`], for a test that wants to know why there are none.
pub fn try_ports<const N: usize>() -> Result<[Port; N], TestingError> {
    Ok(grant::leases(Depth::Guarded)?.map(Port::new))
}

#[track_caller]
fn fail(error: &TestingError) -> ! {
    panic!("no port for this test: {error}");
}
