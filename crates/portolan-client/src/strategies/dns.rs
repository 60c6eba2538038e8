//! Asks the name servers: a SRV record (RFC 2782), else an address and the type's default port.

mod resolver;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::proto::rr::rdata::SRV;
use jiff::Timestamp;
use parking_lot::Mutex;
use portolan_core::{Host, Pool, Registration, Scope, ServiceName, Ttl};
use serde::{Deserialize, Serialize};

use super::default_port::Convention;
use crate::strategy::{Candidate, Completeness, Kind, Strategy, StrategyOutcome, StrategyQuery};

use resolver::DomainResolver;

pub(crate) static KIND: Kind = Kind {
    name: "dns",
    completeness: Completeness::All,
    retries: false,
    timeout: |timeouts| timeouts.dns_resolution,
    build: |deps| {
        Ok(Arc::new(Dns {
            config: deps.config.dns.clone(),
            ports: deps.config.default_ports.clone(),
            scope: deps.scopes[0].clone(),
            limit: deps.config.timeouts.dns_resolution,
            resolver: Mutex::default(),
        }))
    },
};

/// Which names to ask which servers for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DnsConfig {
    /// The domain in which services have their names: `_postgres._tcp.<domain>`. `.` is the root, as
    /// for Docker's own name server. Default none: each domain of the system's search list.
    pub domain: Option<String>,
    /// The name servers, as address and port. Default empty: those of the system.
    pub servers: Vec<SocketAddr>,
}

/// A text that is no domain. Retrying does not help: it must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{domain:?} is no domain: {reason}; write it like services.example.org")]
pub struct InvalidDomain {
    domain: String,
    reason: String,
}

/// Why the name servers could not be asked. Retrying may help, later.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DnsError {
    /// The system's own settings cannot be read.
    #[error("cannot read the system's name servers: {0}; set discovery.dns.servers")]
    System(#[source] NetError),
    /// No answer, or one that is none.
    #[error("the name servers do not answer for {name}: {reason}; check discovery.dns.servers")]
    Lookup {
        /// The name asked for.
        name: String,
        /// What happened instead.
        reason: String,
    },
}

struct Dns {
    config: DnsConfig,
    ports: BTreeMap<ServiceName, NonZeroU16>,
    scope: Scope,
    limit: Duration,
    /// Made when it is first needed: it belongs to the runtime that asks.
    resolver: Mutex<Option<Arc<DomainResolver>>>,
}

// === impl DnsConfig ===

impl DnsConfig {
    pub(crate) fn validate(&self) -> Result<(), InvalidDomain> {
        self.domain().map(drop)
    }

    fn domain(&self) -> Result<Option<Name>, InvalidDomain> {
        let Some(domain) = &self.domain else { return Ok(None) };
        let name = |domain: &str| {
            let mut name = Name::from_ascii(domain).map_err(|error| error.to_string())?;
            name.set_fqdn(true);
            Ok(name)
        };
        let named = match domain.is_empty() {
            true => Err("it is empty".to_owned()),
            false => name(domain),
        };
        named.map(Some).map_err(|reason: String| InvalidDomain {
            domain: domain.chars().take(260).collect(),
            reason,
        })
    }
}

// === impl Dns ===

impl Dns {
    async fn look_up(&self, query: &StrategyQuery) -> StrategyOutcome {
        let names = match self.names() {
            Ok(names) => names,
            Err(error) => return StrategyOutcome::Failed(error.into()),
        };
        if names.domains.is_empty() {
            return StrategyOutcome::Skip(
                "no domain to look in; set discovery.dns.domain".to_owned(),
            );
        }
        match self.find(&names, &query.name).await {
            Ok(candidates) if !candidates.is_empty() => StrategyOutcome::Found(candidates),
            Ok(_) => self.nothing(&names, &query.name),
            Err(error) => StrategyOutcome::Failed(error.into()),
        }
    }

    async fn find(
        &self,
        names: &DomainResolver,
        name: &ServiceName,
    ) -> Result<Vec<Candidate>, DnsError> {
        for domain in &names.domains {
            // A name that is too long for DNS is not there either.
            let Some(srv) = within(&format!("_{name}._tcp"), domain) else { continue };
            if let Some(targets) = names.targets(srv).await? {
                return self.resolved(names, name, targets).await;
            }
        }
        let Some(convention) = Convention::of(name, &self.ports) else { return Ok(Vec::new()) };
        for domain in &names.domains {
            let Some(host) = within(name.as_str(), domain) else { continue };
            let addresses = names.addresses(host).await?;
            if !addresses.is_empty() {
                let candidate = |address| self.candidate(name, address, convention.port);
                return Ok(addresses.into_iter().filter_map(candidate).collect());
            }
        }
        Ok(Vec::new())
    }

    /// The addresses of the targets. One that cannot be resolved takes none of the others with it.
    async fn resolved(
        &self,
        names: &DomainResolver,
        name: &ServiceName,
        targets: Vec<SRV>,
    ) -> Result<Vec<Candidate>, DnsError> {
        let lookups = targets.iter().map(|srv| names.addresses(srv.target.clone()));
        let (mut candidates, mut failed) = (Vec::new(), None);
        for (srv, addresses) in targets.iter().zip(join_all(lookups).await) {
            match addresses {
                Ok(addresses) => candidates.extend(addresses.into_iter().filter_map(|address| {
                    let candidate = self.candidate(name, address, srv.port)?;
                    Some(Candidate { priority: srv.priority, weight: srv.weight, ..candidate })
                })),
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if candidates.is_empty() => Err(error),
            _ => Ok(candidates),
        }
    }

    fn candidate(&self, name: &ServiceName, address: IpAddr, port: u16) -> Option<Candidate> {
        // An answer of 0.0.0.0 blocks a name; it is no address.
        let host = Host::try_from(address).ok()?;
        let mut registration = Registration::new(name.clone(), host, port);
        registration.scope = self.scope.clone();
        let protocol = Pool::of_service(name.as_str()).map(|pool| pool.protocol.parse());
        if let Some(Ok(protocol)) = protocol {
            registration.protocol = protocol;
        }
        let endpoint = registration.into_endpoint(Ttl::DEFAULT, Timestamp::now());
        Some(Candidate::from(endpoint))
    }

    fn nothing(&self, names: &DomainResolver, name: &ServiceName) -> StrategyOutcome {
        let domains = names.domains.iter().map(Name::to_string).collect::<Vec<_>>().join(", ");
        let what = match Convention::of(name, &self.ports) {
            Some(_) => "neither a SRV record nor an address",
            None => "no SRV record, and no default port for an address",
        };
        // The search list is the network's, and services need not stand in it.
        let sure = self.config.domain.is_some();
        StrategyOutcome::NotFound { reason: format!("{what} for {name} in {domains}"), sure }
    }

    fn names(&self) -> Result<Arc<DomainResolver>, DnsError> {
        let mut made = self.resolver.lock();
        if let Some(names) = &*made {
            return Ok(Arc::clone(names));
        }
        let names =
            Arc::new(DomainResolver::new(&self.config, self.limit).map_err(DnsError::System)?);
        *made = Some(Arc::clone(&names));
        Ok(names)
    }
}

impl Strategy for Dns {
    fn ask<'a>(&'a self, query: &'a StrategyQuery) -> BoxFuture<'a, StrategyOutcome> {
        self.look_up(query).boxed()
    }
}

/// The name in the domain, where that makes one.
fn within(name: &str, domain: &Name) -> Option<Name> {
    let mut name = Name::from_ascii(name).ok()?.append_domain(domain).ok()?;
    name.set_fqdn(true);
    Some(name)
}

#[cfg(test)]
mod tests;
