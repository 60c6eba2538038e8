//! Connects with the crate `redis`.

use portolan_core::Host;
use portolan_database::{ConnectError, Connector, ServerFacts};
use redis::{RedisError, Value, cmd};

use crate::RedisSettings;
use crate::link::Link;

/// Connects with these settings, in which the server is missing.
#[derive(Debug)]
pub(crate) struct RedisConnector(pub(crate) RedisSettings);

impl Connector for RedisConnector {
    type Connection = Link;

    async fn connect(&self, host: &Host, port: u16) -> Result<Link, ConnectError> {
        Link::open(host, port, &self.0).await.map_err(|error| reason(&error))
    }

    async fn ask(&self, link: &mut Link, with_cluster: bool) -> Result<ServerFacts, ConnectError> {
        let connection = &mut link.connection;
        // Unlike ROLE, this is refused while the server loads its data, and by a replica without data that it may serve.
        cmd("PING").exec_async(connection).await.map_err(|error| reason(&error))?;
        let role: Value =
            cmd("ROLE").query_async(connection).await.map_err(|error| reason(&error))?;
        let is_standby = is_replica(&role)
            .ok_or_else(|| ConnectError::Refused("its ROLE is not one of Redis".to_owned()))?;
        let cluster = match self.0.identity_key.as_ref().filter(|_| with_cluster) {
            Some(key) => {
                cmd("GET").arg(key).query_async(connection).await.map_err(|error| reason(&error))?
            }
            None => None,
        };
        Ok(ServerFacts { is_standby, is_writable: !is_standby, cluster })
    }
}

/// Reads the first element of the answer to ROLE; `None` if it is a sentinel, or none of Redis.
fn is_replica(role: &Value) -> Option<bool> {
    let Value::Array(elements) = role else { return None };
    let name = match elements.first()? {
        Value::BulkString(name) => name.as_slice(),
        Value::SimpleString(name) => name.as_bytes(),
        _ => return None,
    };
    match name {
        b"master" => Some(false),
        b"slave" => Some(true),
        _ => None,
    }
}

/// Whether the server has answered.
fn reason(error: &RedisError) -> ConnectError {
    match error.is_io_error() {
        true => ConnectError::Unreachable(error.to_string()),
        false => ConnectError::Refused(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_is_read() {
        let answer = |name: &str| Value::Array(vec![Value::BulkString(name.into()), Value::Int(0)]);
        assert_eq!(is_replica(&answer("master")), Some(false));
        assert_eq!(is_replica(&answer("slave")), Some(true));
        assert_eq!(is_replica(&answer("sentinel")), None);
        assert_eq!(is_replica(&Value::Okay), None);
    }
}
