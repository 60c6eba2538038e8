//! The strategy `dns`: looks up an SRV record (RFC 2782), or else an address record with the type's
//! default port.

mod resolver;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::proto::rr::rdata::SRV;
use jiff::Timestamp;
use parking_lot::Mutex;
use portolan_core::{Host, Registration, Scope, ServiceName, Ttl};

use crate::deadline::Deadline;
use crate::deps::Builtin;
use crate::dns_config::DnsConfig;
use crate::strategy::{
    Candidate, Proof, Strategy, StrategyError, StrategyFuture, StrategyKind, StrategyOutcome,
    StrategyQuery,
};
use crate::well_known_port::WellKnownPorts;

use resolver::{DnsError, DomainResolver};

pub(crate) static STRATEGY: Builtin = Builtin {
    kind: KIND,
    build: |deps, timeout| {
        Arc::new(Dns {
            config: deps.dns.clone(),
            ports: WellKnownPorts::new(deps.default_ports.clone(), deps.pools.clone()),
            scope: deps.scopes[0].clone(),
            timeout,
            resolver: Mutex::default(),
        })
    },
};

const KIND: StrategyKind = StrategyKind {
    timeout: Some(Duration::from_secs(2)),
    timeout_key: Some("dns_resolution"),
    ..StrategyKind::new("dns")
};

struct Dns {
    config: DnsConfig,
    ports: WellKnownPorts,
    scope: Scope,
    timeout: Duration,
    /// Created by the first lookup, because it belongs to the runtime of the caller.
    resolver: Mutex<Option<Arc<DomainResolver>>>,
}

// === impl Dns ===

impl Dns {
    async fn lookup(&self, query: &StrategyQuery) -> StrategyOutcome {
        let resolver = match self.resolver() {
            Ok(resolver) => resolver,
            Err(error) => return StrategyOutcome::Failed(StrategyError::from_remedy(error)),
        };
        if resolver.domains.is_empty() {
            return StrategyOutcome::Skipped(
                "no domain to look in (discovery.dns.domain)".to_owned(),
            );
        }
        match self.search(&resolver, &query.name).await {
            Ok(candidates) if !candidates.is_empty() => StrategyOutcome::Found(candidates),
            Ok(_) => self.not_found(&resolver, &query.name),
            Err(error) => StrategyOutcome::Failed(StrategyError::from_remedy(error)),
        }
    }

    async fn search(
        &self,
        resolver: &DomainResolver,
        name: &ServiceName,
    ) -> Result<Vec<Candidate>, DnsError> {
        for domain in &resolver.domains {
            // A name that is too long for DNS does not exist in DNS.
            let Some(srv) = name_in_domain(&format!("_{name}._tcp"), domain) else { continue };
            if let Some(targets) = resolver.targets(srv).await? {
                return self.resolved(resolver, name, targets).await;
            }
        }
        let Some(well_known) = self.ports.get(name) else {
            return Ok(Vec::new());
        };
        for domain in &resolver.domains {
            let Some(host) = name_in_domain(name.as_str(), domain) else { continue };
            let addresses = resolver.addresses(host).await?;
            if !addresses.is_empty() {
                let candidate = |address| self.candidate(name, address, well_known.port);
                return Ok(addresses.into_iter().filter_map(candidate).collect());
            }
        }
        Ok(Vec::new())
    }

    /// Resolves the targets. A target that cannot be resolved does not affect the others.
    async fn resolved(
        &self,
        resolver: &DomainResolver,
        name: &ServiceName,
        targets: Vec<SRV>,
    ) -> Result<Vec<Candidate>, DnsError> {
        let lookups = targets.iter().map(|srv| resolver.addresses(srv.target.clone()));
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
        // An answer of 0.0.0.0 blocks a name; it is not an address.
        let host = Host::try_from(address).ok()?;
        let mut registration = Registration::new(name.clone(), host, port);
        registration.scope = self.scope.clone();
        if let Some(protocol) = self.ports.pools().protocol(None, name.as_str()) {
            registration.protocol = protocol;
        }
        let endpoint = registration.into_endpoint(Ttl::DEFAULT, Timestamp::now());
        Some(Candidate { proof: Proof::Resolved, ..endpoint.into() })
    }

    fn not_found(&self, resolver: &DomainResolver, name: &ServiceName) -> StrategyOutcome {
        let domains = resolver.domains.iter().map(Name::to_string).collect::<Vec<_>>().join(", ");
        let what = match self.ports.get(name) {
            Some(_) => "neither an SRV record nor an address",
            None => "no SRV record, and no default port for an address",
        };
        // The search list belongs to the network; services may be registered elsewhere.
        let authoritative = self.config.domain.is_some();
        let reason = format!("{what} for {name} in {domains}");
        StrategyOutcome::NotFound { reason, authoritative }
    }

    fn resolver(&self) -> Result<Arc<DomainResolver>, DnsError> {
        let mut resolver = self.resolver.lock();
        if let Some(resolver) = &*resolver {
            return Ok(Arc::clone(resolver));
        }
        // A lost datagram is sent once more within the deadline.
        let attempt = Deadline::after(self.timeout).inner().limit() / 2;
        let created = DomainResolver::new(&self.config, attempt).map_err(DnsError::System)?;
        Ok(Arc::clone(resolver.insert(Arc::new(created))))
    }
}

impl Strategy for Dns {
    fn kind(&self) -> StrategyKind {
        KIND
    }

    fn find<'a>(&'a self, query: &'a StrategyQuery) -> StrategyFuture<'a> {
        Box::pin(self.lookup(query))
    }
}

/// Returns the name in the domain, or `None` if it is too long.
fn name_in_domain(name: &str, domain: &Name) -> Option<Name> {
    let mut name = Name::from_ascii(name).ok()?.append_domain(domain).ok()?;
    name.set_fqdn(true);
    Some(name)
}

#[cfg(test)]
mod tests;
