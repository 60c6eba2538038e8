//! The schemes of URLs that are given to programs and shells.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::{Protocol, Remedy, ServiceEndpoint, ServiceName};

/// The schemes that name a protocol of servers. A browser or a shell does something else with others, such as
/// `javascript` or `file`.
const KNOWN: [&str; 43] = [
    "amqp",
    "amqps",
    "cassandra",
    "coap",
    "coaps",
    "consul",
    "etcd",
    "ftp",
    "ftps",
    "grpc",
    "grpcs",
    "h2",
    "h2c",
    "http",
    "https",
    "imap",
    "imaps",
    "kafka",
    "ldap",
    "ldaps",
    "memcached",
    "mongodb",
    "mqtt",
    "mqtts",
    "mysql",
    "nats",
    "postgres",
    "postgresql",
    "quic",
    "redis",
    "rediss",
    "rtsp",
    "sip",
    "sips",
    "smtp",
    "smtps",
    "ssh",
    "tcp",
    "thrift",
    "tls",
    "udp",
    "ws",
    "wss",
];

/// A URL whose scheme is not one that is given to programs. Retrying does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{service} at {address} has the protocol {protocol}, which is not given out as the scheme of a URL"
)]
pub struct UnknownScheme {
    /// The service.
    pub service: ServiceName,
    /// The host and port of the instance.
    pub address: String,
    /// The protocol, as the registrant of the instance has chosen it.
    pub protocol: Protocol,
}

// === impl UnknownScheme ===

impl Remedy for UnknownScheme {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        let Self { protocol, .. } = self;
        Some(
            format!("add {protocol} to discovery.url_schemes if programs may get such URLs, or use `--format addr`").into(),
        )
    }
}

/// Returns the URL of an instance, if its scheme names a protocol of servers or is one of `more`.
pub fn checked_url(
    endpoint: &ServiceEndpoint,
    more: &BTreeSet<Protocol>,
) -> Result<String, UnknownScheme> {
    let protocol = &endpoint.protocol;
    if KNOWN.iter().any(|known| protocol.as_str().eq_ignore_ascii_case(known))
        || more.contains(protocol)
    {
        return Ok(endpoint.url());
    }
    Err(UnknownScheme {
        service: endpoint.name.clone(),
        address: endpoint.address(),
        protocol: protocol.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Host, Registration, Ttl};

    fn with_protocol(protocol: &str) -> ServiceEndpoint {
        let mut registration = Registration::new("api".parse().unwrap(), Host::loopback(), 80);
        registration.protocol = protocol.parse().unwrap();
        registration.into_endpoint(Ttl::DEFAULT, jiff::Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn schemes_of_servers_are_given_out_and_others_only_if_they_are_named() {
        let none = BTreeSet::new();
        assert_eq!(checked_url(&with_protocol("http"), &none).unwrap(), "http://127.0.0.1:80");
        let error = checked_url(&with_protocol("javascript"), &none).unwrap_err();
        insta::assert_snapshot!(error.with_remedy());
        let named = BTreeSet::from(["javascript".parse().unwrap()]);
        assert!(checked_url(&with_protocol("javascript"), &named).is_ok());
    }

    #[test]
    fn known_schemes_are_sorted_and_valid() {
        assert!(KNOWN.is_sorted());
        assert!(KNOWN.iter().all(|scheme| scheme.parse::<Protocol>().is_ok()));
    }
}
