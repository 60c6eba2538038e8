//! What the environment says of the socket: `LISTEN_FDS` and `PORT`.

use std::env;
use std::fmt::Display;

use listenfd::ListenFd;
use portolan_client::environment::InvalidVariable;
use tokio::net::TcpListener;

use crate::error::ServiceError;

/// The variable with the port that a supervisor wants the program to bind.
const PORT: &str = "PORT";

/// Returns the first socket of sd_listen_fds(3) if `LISTEN_PID` is this process.
pub(crate) fn inherited_listener() -> Result<Option<TcpListener>, ServiceError> {
    let listener = ListenFd::from_env().take_tcp_listener(0).map_err(ServiceError::Inherited)?;
    let Some(listener) = listener else { return Ok(None) };
    // tokio requires non-blocking sockets.
    listener.set_nonblocking(true).map_err(ServiceError::Inherited)?;
    TcpListener::from_std(listener).map(Some).map_err(ServiceError::Inherited)
}

/// Returns the port that the environment demands.
pub(crate) fn demanded_port() -> Result<Option<u16>, InvalidVariable> {
    let invalid =
        |reason: &dyn Display| InvalidVariable { variable: PORT, reason: reason.to_string() };
    match env::var(PORT) {
        Err(env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(invalid(&error)),
        Ok(text) => match text.parse() {
            Ok(0) => Err(invalid(&"0 is not a port, expected a number from 1 to 65535")),
            Ok(port) => Ok(Some(port)),
            Err(error) => Err(invalid(&error)),
        },
    }
}
