//! Ports for tests: a listener or a leased port number in one line, safe in tests that run in
//! parallel.
//!
//! There is no configuration, and none is read. A port is leased in the reservation table that all
//! Portolan processes of the user share, until the value is dropped or the process ends, even if it
//! is killed. Tests may therefore run as threads (`cargo test`) or as processes (nextest).
//! `portolan::testing` re-exports this crate, which builds faster on its own. It does not depend on
//! a registry.
//!
//! A server in the test itself gets a bound socket:
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
//! A server that binds by port number, such as another process, gets a guarded port:
//!
//! ```
//! use std::net::TcpListener;
//!
//! let port = portolan_testing::port();
//! println!("redis-server --port {port}");
//! let _server = TcpListener::bind(("127.0.0.1", *port))?;
//!
//! let [http, metrics] = portolan_testing::ports();
//! assert_ne!(*http, *metrics);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # A real server
//!
//! Each test of this file starts a Redis server:
//!
//! ```ignore
#![doc = include_str!("../tests/redis.rs")]
//! ```

mod error;
mod grant;
mod listener;
mod port;

use portolan_core::Remedy as _;
use portolan_port_allocator::Depth;

pub use error::TestingError;
pub use listener::TestListener;
pub use port::Port;

/// Returns a listener on a leased port of 127.0.0.1.
///
/// # Panics
/// Panics if no port is available. The message names the remedy.
#[track_caller]
pub fn listener() -> TestListener {
    try_listener().unwrap_or_else(|error| fail(&error))
}

/// Returns a leased port for a program that binds it by number.
///
/// ```
/// let port = portolan_testing::port();
/// let url = format!("http://127.0.0.1:{port}/");
/// # assert!(url.contains(":2"));
/// ```
///
/// # Panics
/// Panics if no port is available. The message names the remedy.
#[track_caller]
pub fn port() -> Port {
    try_port().unwrap_or_else(|error| fail(&error))
}

/// Returns several leased ports, or none.
///
/// ```
/// let [http, metrics] = portolan_testing::ports();
/// # assert_ne!(*http, *metrics);
/// ```
///
/// # Panics
/// Panics if fewer than `N` ports are available. The message names the remedy.
#[track_caller]
pub fn ports<const N: usize>() -> [Port; N] {
    try_ports().unwrap_or_else(|error| fail(&error))
}

/// Like [`listener`], but returns the error.
pub fn try_listener() -> Result<TestListener, TestingError> {
    let [lease] = grant::leases(Depth::Bound)?;
    TestListener::new(lease)
}

/// Like [`port`], but returns the error.
pub fn try_port() -> Result<Port, TestingError> {
    let [port] = try_ports()?;
    Ok(port)
}

/// Like [`ports`], but returns the error.
pub fn try_ports<const N: usize>() -> Result<[Port; N], TestingError> {
    Ok(grant::leases(Depth::Guarded)?.map(Port::new))
}

#[track_caller]
fn fail(error: &TestingError) -> ! {
    panic!("no port for this test: {}", error.with_remedy());
}
