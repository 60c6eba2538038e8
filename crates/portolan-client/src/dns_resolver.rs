//! A DNS stub resolver: the name servers, the domains to search, and the meaning of answers.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError as Answer, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData};

use portolan_core::Remedy;

use crate::dns_config::DnsConfig;

/// The maximum number of SRV records of one name: if one instance is enough, and if all are requested.
pub(crate) const MAX_TARGETS: usize = 16;
pub(crate) const MAX_ALL_TARGETS: usize = 1_000;
/// How many targets are resolved at a time.
const CONCURRENT_TARGETS: usize = 16;
/// The maximum number of addresses of one target.
pub(crate) const MAX_ADDRESSES: usize = 8;
/// The maximum number of domains of the system's search list, as in the C library (resolv.conf(5)).
pub(crate) const MAX_DOMAINS: usize = 6;

/// Why the name servers could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DnsError {
    /// The system's resolver configuration cannot be read.
    #[error("cannot read the system's name servers: {0}")]
    System(#[source] NetError),
    /// The name servers answered with an error, such as REFUSED for a name that they do not know.
    #[error("the name servers answer {code} for {name}")]
    Rejected {
        /// The name asked for.
        name: String,
        /// The response code.
        code: ResponseCode,
    },
    /// No usable answer.
    #[error("no valid answer from the name servers for {name}: {reason}")]
    Lookup {
        /// The name asked for.
        name: String,
        /// What happened instead.
        reason: String,
    },
}

/// A resolver, and the domains in which it looks.
pub(crate) struct DomainResolver {
    resolver: TokioResolver,
    pub(crate) domains: Vec<Domain>,
    /// Whether the hosts file counts: not if the settings name the servers.
    pub(crate) uses_hosts_file: bool,
}

/// A domain in which services are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Domain {
    pub(crate) name: Name,
    /// Whether the settings name it, so that its address records belong to services. Otherwise it is in
    /// the search list, which belongs to the network.
    pub(crate) configured: bool,
}

/// The name server of a container in a Docker network, which resolves single labels.
const DOCKER_SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11));

// === impl DomainResolver ===

impl DomainResolver {
    pub(crate) fn new(config: &DnsConfig, attempt: Duration) -> Result<Self, NetError> {
        let system = hickory_resolver::system_conf::read_system_conf();
        let searched = |system: &ResolverConfig| match config.domain().ok().flatten() {
            Some(name) => vec![Domain { name, configured: true }],
            None => search_list(system),
        };
        let uses_hosts_file = config.servers.is_empty();
        let (resolver, domains, mut options) = if config.servers.is_empty() {
            let (system, options) = system?;
            let domains = searched(&system);
            (system, domains, options)
        } else {
            // With configured servers, a system without a search list adds no domains.
            let system = system.map(|(system, _)| system).unwrap_or_default();
            let mut options = ResolverOpts::default();
            options.use_hosts_file = ResolveHosts::Never;
            (servers(&config.servers), searched(&system), options)
        };
        // One retry; the client has its own cache.
        (options.timeout, options.attempts, options.cache_size) = (attempt, 1, 0);
        let provider = TokioRuntimeProvider::default();
        let builder = TokioResolver::builder_with_config(resolver, provider);
        let resolver = builder.with_options(options).build()?;
        Ok(Self { resolver, domains, uses_hosts_file })
    }

    /// Returns at most so many targets of the SRV records, or `None` without a record.
    pub(crate) async fn targets(
        &self,
        name: Name,
        limit: usize,
    ) -> Result<Option<Vec<SRV>>, DnsError> {
        let lookup = match self.resolver.srv_lookup(name.clone()).await {
            Ok(lookup) => lookup,
            Err(error) => return absent_or_error(&name, &error).map(|()| None),
        };
        let mut targets: Vec<SRV> = lookup
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                // A target of "." says that the service is not available (RFC 2782).
                RData::SRV(srv) if srv.port > 0 && !srv.target.is_root() => Some(srv.clone()),
                _ => None,
            })
            .collect();
        targets.sort_by_key(|srv| srv.priority);
        targets.truncate(limit);
        Ok(Some(targets))
    }

    /// Resolves the targets of SRV records, in their order.
    pub(crate) async fn resolve(
        &self,
        targets: Vec<SRV>,
    ) -> Vec<(SRV, Result<Vec<IpAddr>, DnsError>)> {
        let lookups = targets.into_iter().map(async |srv| {
            let addresses = self.addresses(srv.target.clone()).await;
            (srv, addresses)
        });
        stream::iter(lookups).buffered(CONCURRENT_TARGETS).collect().await
    }

    /// Returns the addresses of a host, empty without a record.
    pub(crate) async fn addresses(&self, mut name: Name) -> Result<Vec<IpAddr>, DnsError> {
        name.set_fqdn(true);
        match self.resolver.lookup_ip(name.clone()).await {
            Ok(lookup) => Ok(lookup.iter().take(MAX_ADDRESSES).collect()),
            Err(error) => absent_or_error(&name, &error).map(|()| Vec::new()),
        }
    }
}

impl fmt::Debug for DomainResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DomainResolver").field("domains", &self.domains).finish_non_exhaustive()
    }
}

pub(crate) fn search_list(system: &ResolverConfig) -> Vec<Domain> {
    let mut domains: Vec<Name> = Vec::new();
    for domain in system.domain().into_iter().chain(system.search()) {
        // The root servers must not see local names.
        if !domain.is_root() && !domains.contains(domain) {
            domains.push(domain.clone());
        }
    }
    domains.truncate(MAX_DOMAINS);
    if system.name_servers().iter().any(|server| server.ip == DOCKER_SERVER) {
        domains.push(Name::root());
    }
    domains.into_iter().map(|name| Domain { name, configured: false }).collect()
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

/// Distinguishes a name that does not exist from a failure.
fn absent_or_error(name: &Name, error: &NetError) -> Result<(), DnsError> {
    if let NetError::Dns(Answer::NoRecordsFound(NoRecords { response_code, .. })) = error
        && matches!(response_code, ResponseCode::NXDomain | ResponseCode::NoError)
    {
        return Ok(());
    }
    let name = name.to_string();
    Err(match error {
        NetError::Dns(Answer::ResponseCode(code)) => DnsError::Rejected { name, code: *code },
        error => DnsError::Lookup { name, reason: error.to_string() },
    })
}

// === impl DnsError ===

impl Remedy for DnsError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::System(_) => "set discovery.dns.servers".into(),
            Self::Rejected { .. } | Self::Lookup { .. } => "check discovery.dns.servers".into(),
        })
    }
}
