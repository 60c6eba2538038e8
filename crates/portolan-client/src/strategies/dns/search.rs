//! The steps of one lookup in DNS. A query that fails does not end the others.

use std::net::IpAddr;

use futures_util::future::join_all;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::proto::rr::rdata::SRV;

use super::{Dns, hosts_file, name_in_domain, wildcard};
use crate::dns_resolver::{DnsError, Domain, DomainResolver, MAX_ALL_TARGETS, MAX_TARGETS};
use crate::strategy::{Candidate, StrategyQuery};

/// A lookup in progress.
pub(super) struct Search<'a> {
    pub(super) dns: &'a Dns,
    pub(super) resolver: &'a DomainResolver,
    pub(super) query: &'a StrategyQuery,
}

/// A step of a lookup, strongest proof first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// SRV records, in every domain.
    Service,
    /// The hosts file of this host.
    HostsFile,
    /// Address records, in every domain.
    Address,
}

// === impl Search ===

impl Search<'_> {
    /// Returns the candidates of the first domain that has any, or else the first failure.
    pub(super) async fn run(&self, step: Step) -> Result<Vec<Candidate>, DnsError> {
        if step == Step::HostsFile {
            return Ok(self.in_hosts_file());
        }
        let domains = &self.resolver.domains;
        let found = join_all(domains.iter().map(|domain| self.in_domain(step, domain))).await;
        let mut failed = None;
        for result in found {
            match result {
                Ok(candidates) if !candidates.is_empty() => return Ok(candidates),
                Ok(_) => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(Vec::new()), Err)
    }

    async fn in_domain(&self, step: Step, domain: &Domain) -> Result<Vec<Candidate>, DnsError> {
        match step {
            Step::Service => self.service(&domain.name).await,
            Step::HostsFile | Step::Address => self.address(domain).await,
        }
    }

    async fn service(&self, domain: &Name) -> Result<Vec<Candidate>, DnsError> {
        let label = format!("_{}._tcp", self.query.name);
        // A name that is too long for DNS does not exist in DNS.
        let Some(name) = name_in_domain(&label, domain) else { return Ok(Vec::new()) };
        let limit = if self.query.all { MAX_ALL_TARGETS } else { MAX_TARGETS };
        let targets = self.resolver.targets(name, limit).await?;
        self.resolve_targets(targets.unwrap_or_default()).await
    }

    /// Resolves the targets. A target that cannot be resolved does not affect the others.
    async fn resolve_targets(&self, targets: Vec<SRV>) -> Result<Vec<Candidate>, DnsError> {
        let resolved = self.resolver.resolve(targets).await;
        let (mut candidates, mut failed) = (Vec::new(), None);
        for (srv, addresses) in resolved {
            let candidate = |address: IpAddr| {
                let candidate = self.dns.candidate(&self.query.name, address, srv.port)?;
                Some(Candidate { priority: srv.priority, weight: srv.weight, ..candidate })
            };
            match addresses {
                Ok(addresses) => candidates.extend(addresses.into_iter().filter_map(candidate)),
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if candidates.is_empty() => Err(error),
            _ => Ok(candidates),
        }
    }

    /// Looks up the address of the name. Under a search list, only an address counts that no made-up name
    /// has.
    async fn address(&self, domain: &Domain) -> Result<Vec<Candidate>, DnsError> {
        if self.dns.ports.get(&self.query.name).is_none() {
            return Ok(Vec::new());
        }
        let Some(host) = name_in_domain(self.query.name.as_str(), &domain.name) else {
            return Ok(Vec::new());
        };
        let mut addresses = self.resolver.addresses(host).await?;
        if !domain.configured && !addresses.is_empty() {
            addresses = wildcard::without_wildcard(self.resolver, &domain.name, addresses).await?;
        }
        Ok(self.at_default_port(addresses))
    }

    fn in_hosts_file(&self) -> Vec<Candidate> {
        match self.resolver.uses_hosts_file {
            true => self.at_default_port(hosts_file::addresses(self.query.name.as_str())),
            false => Vec::new(),
        }
    }

    fn at_default_port(&self, addresses: Vec<IpAddr>) -> Vec<Candidate> {
        let name = &self.query.name;
        let Some(well_known) = self.dns.ports.get(name) else { return Vec::new() };
        let candidate = |address| self.dns.candidate(name, address, well_known.port);
        addresses.into_iter().filter_map(candidate).collect()
    }
}
