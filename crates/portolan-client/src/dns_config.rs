//! The section `discovery.dns` of the configuration.

use std::borrow::Cow;
use std::net::SocketAddr;

use hickory_resolver::proto::rr::Name;
use portolan_core::{Remedy, quoted};
use serde::{Deserialize, Serialize};

/// Which names the strategy `dns` asks which servers for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DnsConfig {
    /// The domain of the services' names: `_postgres._tcp.<domain>`. `.` is the root, which
    /// Docker's name server uses. Default none: every domain of the system's search list.
    pub domain: Option<String>,
    /// The name servers, as address and port. Default empty: those of the system.
    pub servers: Vec<SocketAddr>,
}

/// A text that is not a domain. Retrying does not help: the text must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid domain {domain}: {reason}")]
pub struct InvalidDomain {
    domain: String,
    reason: String,
}

// === impl DnsConfig ===

impl DnsConfig {
    /// Parses the domain, if one is set.
    pub(crate) fn domain(&self) -> Result<Option<Name>, InvalidDomain> {
        let Some(domain) = &self.domain else { return Ok(None) };
        let invalid = |reason: String| InvalidDomain { domain: quoted(domain), reason };
        if domain.is_empty() {
            return Err(invalid("it is empty".to_owned()));
        }
        let mut name = Name::from_ascii(domain).map_err(|error| invalid(error.to_string()))?;
        name.set_fqdn(true);
        Ok(Some(name))
    }
}

// === impl InvalidDomain ===

impl Remedy for InvalidDomain {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        Some("write it like services.example.org".into())
    }
}
