//! Speaks to the name servers: which ones, in which domains, and what their answers mean.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError as Answer, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData};

use super::{DnsConfig, DnsError};

/// How many SRV records of one name are looked at.
pub(super) const MAX_TARGETS: usize = 16;
/// How many addresses of one target are looked at.
pub(super) const MAX_ADDRESSES: usize = 8;
/// How many domains of the system's search list are asked, as many as the C library asks.
pub(super) const MAX_DOMAINS: usize = 6;

/// A resolver, and the domains in which it looks.
pub(super) struct DomainResolver {
    resolver: TokioResolver,
    pub(super) domains: Vec<Name>,
}

// === impl DomainResolver ===

impl DomainResolver {
    pub(super) fn new(config: &DnsConfig, limit: Duration) -> Result<Self, NetError> {
        let system = hickory_resolver::system_conf::read_system_conf();
        let searched = |system: &ResolverConfig| match config.domain().ok().flatten() {
            Some(domain) => vec![domain],
            None => search_list(system),
        };
        let (resolver, domains, mut options) = if config.servers.is_empty() {
            let (system, options) = system?;
            let domains = searched(&system);
            (system, domains, options)
        } else {
            // With servers of one's own, a system without a search list just adds none.
            let system = system.map(|(system, _)| system).unwrap_or_default();
            let mut options = ResolverOpts::default();
            options.use_hosts_file = ResolveHosts::Never;
            (servers(&config.servers), searched(&system), options)
        };
        // A datagram that is lost is sent once more within the limit; the client keeps what was found.
        (options.timeout, options.attempts, options.cache_size) = (limit.mul_f64(0.45), 1, 0);
        let provider = TokioRuntimeProvider::default();
        let builder = TokioResolver::builder_with_config(resolver, provider);
        Ok(Self { resolver: builder.with_options(options).build()?, domains })
    }

    /// The targets of a SRV record; none where there is no record.
    pub(super) async fn targets(&self, name: Name) -> Result<Option<Vec<SRV>>, DnsError> {
        let lookup = match self.resolver.srv_lookup(name.clone()).await {
            Ok(lookup) => lookup,
            Err(error) => return none_or_error(&name, &error).map(|()| None),
        };
        let mut targets: Vec<SRV> = lookup
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                // A target of "." says that there is no such service here.
                RData::SRV(srv) if srv.port > 0 && !srv.target.is_root() => Some(srv.clone()),
                _ => None,
            })
            .collect();
        targets.sort_by_key(|srv| srv.priority);
        targets.truncate(MAX_TARGETS);
        Ok(Some(targets))
    }

    /// The addresses of a host; none where it has none.
    pub(super) async fn addresses(&self, mut name: Name) -> Result<Vec<IpAddr>, DnsError> {
        name.set_fqdn(true);
        match self.resolver.lookup_ip(name.clone()).await {
            Ok(lookup) => Ok(lookup.iter().take(MAX_ADDRESSES).collect()),
            Err(error) => none_or_error(&name, &error).map(|()| Vec::new()),
        }
    }
}

impl fmt::Debug for DomainResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DomainResolver").field("domains", &self.domains).finish_non_exhaustive()
    }
}

pub(super) fn search_list(system: &ResolverConfig) -> Vec<Name> {
    let mut domains: Vec<Name> = Vec::new();
    for domain in system.domain().into_iter().chain(system.search()) {
        // The root would be asked for names that were never meant for it.
        if !domain.is_root() && !domains.contains(domain) {
            domains.push(domain.clone());
        }
    }
    domains.truncate(MAX_DOMAINS);
    domains
}

fn servers(addresses: &[SocketAddr]) -> ResolverConfig {
    let server = |address: &SocketAddr| {
        let connection = |mut connection: ConnectionConfig| {
            connection.port = address.port();
            connection
        };
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(connection);
        NameServerConfig::new(address.ip(), true, connections.into())
    };
    ResolverConfig::from_name_servers(addresses.iter().map(server).collect())
}

/// "There is no such name" is an answer; everything else is none.
fn none_or_error(name: &Name, error: &NetError) -> Result<(), DnsError> {
    if let NetError::Dns(Answer::NoRecordsFound(NoRecords { response_code, .. })) = error
        && matches!(response_code, ResponseCode::NXDomain | ResponseCode::NoError)
    {
        return Ok(());
    }
    Err(DnsError::Lookup { name: name.to_string(), reason: error.to_string() })
}
