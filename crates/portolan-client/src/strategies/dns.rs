//! The strategy `dns`: looks up an SRV record (RFC 2782), or else the address of the name with the type's
//! default port: in the hosts file, or in a domain.

mod hosts_file;
mod search;
mod wildcard;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::proto::rr::Name;
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

use crate::dns_resolver::{DnsError, DomainResolver};
use search::{Search, Step};

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
        let name = &query.name;
        let search = Search { dns: self, resolver: &resolver, query };
        let mut failed = None;
        for step in [Step::Service, Step::HostsFile, Step::Address] {
            match search.run(step).await {
                Ok(candidates) if candidates.is_empty() => {}
                Ok(candidates) => return StrategyOutcome::Found(candidates),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match failed {
            Some(error) => StrategyOutcome::Failed(StrategyError::from_remedy(error)),
            None if resolver.domains.is_empty() => StrategyOutcome::Skipped(format!(
                "{name} is not in the hosts file, and no domain to look in (discovery.dns.domain)"
            )),
            None => self.not_found(&resolver, name),
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
        let domains: Vec<_> = resolver.domains.iter().map(|d| d.name.to_string()).collect();
        let domains = domains.join(", ");
        let what = match self.ports.get(name) {
            Some(_) => "neither an SRV record nor an address of its own",
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
