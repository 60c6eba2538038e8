//! The registry's settings: section `service_registry` of the configuration.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use portolan_core::{HostPattern, IpNetwork, REGISTRY_PORT, ServerTlsConfig, Ttl};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::StorageBackend;

mod clients;
mod consul;
mod error;
mod etcd;
mod mass_expiry;
mod policies;
mod store_files;

pub use clients::ClientsConfig;
pub use consul::ConsulConfig;
pub use error::InvalidRegistryConfig;
pub use etcd::EtcdConfig;
pub use mass_expiry::MassExpiryConfig;
pub use policies::PolicySource;
pub use store_files::StoreTlsConfig;

/// The settings of the service registry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistryConfig {
    /// Whether the server runs a registry. Default true.
    pub enabled: bool,
    /// The address and port of the HTTP API. Default `127.0.0.1:7000`: this machine only. Set `0.0.0.0:7000`
    /// to serve other machines too, and a token with it.
    pub listen_address: SocketAddr,
    /// The names under which clients may address the registry, besides IP addresses, `localhost` and the names of
    /// this machine: `registry.example.org`, `*.example.org`. Default none. Requests to other names are refused, because a
    /// web page can point a name of its own at the registry (DNS rebinding).
    pub allowed_hosts: Vec<HostPattern>,
    /// The store of the endpoints. Default `memory`: nothing to install, and services register
    /// again by themselves after a restart.
    pub storage_backend: StorageBackend,
    /// The directory in which the store `memory` keeps the endpoints, so that they outlive a crash of the server and
    /// of the machine. Created if it is missing, and used by one server at a time. Default none: nothing is written.
    pub data_dir: Option<PathBuf>,
    /// The TTL of an endpoint that registers without one, from 1 s to 24 h. Default 60 s: two
    /// announce intervals, so that one lost heartbeat does not expire an endpoint.
    #[serde(with = "portolan_core::duration::text")]
    pub ttl_default: Duration,
    /// How often the store `memory` scans all leases for one that its timer queue missed, from 1 s
    /// to 24 h. Default 30 s: leases end on time without the scan.
    #[serde(with = "portolan_core::duration::text")]
    pub cleanup_interval: Duration,
    /// The maximum number of endpoints. Default 100,000: about 150 MB with ordinary metadata. At
    /// most half of them may be learned by broadcast, so that other hosts on the network cannot
    /// keep services from registering.
    pub max_endpoints: usize,
    /// The number of changes that are kept for watches to resume from. Default 10,000: ten minutes
    /// at 16 changes a second. A watch that resumes from an older revision gets a snapshot.
    pub history: usize,
    /// The age from which the view that serves reads is stale, from 2 s to 24 h: the time since it was last known to be
    /// current with the store. Reads go on, but the server is not ready. Default 10 s: the election of a leader of etcd takes
    /// one to three. The store `memory` has no age.
    #[serde(with = "portolan_core::duration::text")]
    pub max_view_age: Duration,
    /// When instances are kept although their leases ended, because too many end at once.
    pub mass_expiry: MassExpiryConfig,
    /// Whether endpoints announced on the broadcast channel are imported. Default true: it connects
    /// network segments that do not receive each other's multicast.
    pub import_broadcast: bool,
    /// Whether a registry with a token imports announcements although the channel has no key, so that anyone
    /// on the network can send them. Default false: it imports signed announcements only.
    pub import_unsigned: bool,
    /// The certificate with which the registry serves `https://` at `listen_address`, and the authorities of clients'
    /// certificates. Default none: it serves `http://`. The files are read again when they have changed.
    pub tls: ServerTlsConfig,
    /// Whether a client by `https://` must show a certificate of `tls.client_ca`. Default false: one that shows a certificate needs no
    /// token, and others need the token.
    pub require_client_certificate: bool,
    /// The file with the policies and identities of clients. The digests of their tokens are beside it, in a file that ends in
    /// `.tokens.jsonl`. Both are read again when they have changed. `store`: all of it is in the store of the registry instead,
    /// for all its servers. Default none: the token, or a client certificate, permits everything.
    pub policies: Option<PolicySource>,
    /// The proxies in front of the registry, as addresses or networks: for requests from them the host of the
    /// client is taken from `X-Forwarded-For`. Default none: the host of a client behind a proxy is
    /// unknown.
    pub trusted_proxies: Vec<IpNetwork>,
    /// The URL at which clients reach this server, such as `http://registry-1.example.org:7000`. Default none. With
    /// several servers over one store, clients learn the URLs of all from the one that they use.
    pub advertise_url: Option<String>,
    /// Whether `serve` may run as root although other hosts can reach the registry. Default false.
    pub allow_root: bool,
    /// How much each client may use.
    pub clients: ClientsConfig,
    /// The cluster of the store `etcd`.
    pub etcd: EtcdConfig,
    /// The agent of the store `consul`.
    pub consul: ConsulConfig,
}

/// The largest `max_endpoints` and `history`: a larger value is more likely a typing error.
const LIMIT: usize = 10_000_000;
/// The longest `advertise_url`, in bytes: those of all servers are a header of a response.
const MAX_URL: usize = 256;
/// The smallest `max_view_age`: a view whose store is quiet is confirmed about every second.
const MIN_VIEW_AGE: Duration = Duration::from_secs(2);

// === impl RegistryConfig ===

impl RegistryConfig {
    /// Checks every constraint that the types do not express.
    pub fn validate(&self) -> Result<(), InvalidRegistryConfig> {
        if self.data_dir.is_some() && self.storage_backend != StorageBackend::MEMORY {
            return Err(InvalidRegistryConfig::DataDir(self.storage_backend.as_str()));
        }
        self.storage_backend.kind().validate(self)?;
        if self.data_dir.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            return Err(InvalidRegistryConfig::DataDirEmpty);
        }
        if let Some(path) = self.data_dir.as_ref().filter(|path| has_tilde(path)) {
            return Err(InvalidRegistryConfig::DataDirTilde(path.clone()));
        }
        self.advertise_url.as_deref().map_or(Ok(()), |url| self.check_advertise_url(url))?;
        self.ttl()?;
        if !(Ttl::MIN..=Ttl::MAX).contains(&self.cleanup_interval) {
            return Err(InvalidRegistryConfig::CleanupInterval(self.cleanup_interval));
        }
        if !(MIN_VIEW_AGE..=Ttl::MAX).contains(&self.max_view_age) {
            return Err(InvalidRegistryConfig::MaxViewAge(self.max_view_age));
        }
        self.mass_expiry.validate()?;
        self.clients.validate()?;
        check_limit("max_endpoints", self.max_endpoints)?;
        check_limit("history", self.history)
    }

    fn check_advertise_url(&self, text: &str) -> Result<(), InvalidRegistryConfig> {
        let invalid = |problem: String| Err(InvalidRegistryConfig::AdvertiseUrl(problem));
        if self.storage_backend == StorageBackend::MEMORY {
            return invalid(
                "the storage backend memory has one server, which its clients know".into(),
            );
        }
        let url = match Url::parse(text) {
            Ok(url) => url,
            Err(error) => return invalid(format!("{text:?} is not a URL: {error}")),
        };
        match url.scheme() {
            _ if text.len() > MAX_URL => invalid(format!("it is longer than {MAX_URL} bytes")),
            "http" | "https" if url.username().is_empty() && url.password().is_none() => {
                match (url.query(), url.fragment()) {
                    (None, None) => Ok(()),
                    _ => invalid(format!("{text:?} has a '?' or a '#'")),
                }
            }
            "http" | "https" => invalid("a token does not belong in the URL".into()),
            _ => invalid(format!("{text:?} does not begin with http:// or https://")),
        }
    }

    /// The interval of heartbeats that the default TTL is made for, which is two of them. Within it every
    /// service has registered again after a restart.
    pub(crate) fn heartbeat_interval(&self) -> Duration {
        self.ttl_default / 2
    }

    /// The default TTL, within its bounds.
    pub(crate) fn ttl(&self) -> Result<Ttl, InvalidRegistryConfig> {
        Ttl::new(self.ttl_default).map_err(InvalidRegistryConfig::TtlDefault)
    }
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            listen_address: SocketAddr::from((Ipv4Addr::LOCALHOST, REGISTRY_PORT)),
            allowed_hosts: Vec::new(),
            storage_backend: StorageBackend::MEMORY,
            data_dir: None,
            ttl_default: Ttl::DEFAULT.duration(),
            cleanup_interval: Duration::from_secs(30),
            max_endpoints: 100_000,
            history: 10_000,
            max_view_age: Duration::from_secs(10),
            mass_expiry: MassExpiryConfig::default(),
            import_broadcast: true,
            import_unsigned: false,
            tls: ServerTlsConfig::default(),
            require_client_certificate: false,
            policies: None,
            trusted_proxies: Vec::new(),
            advertise_url: None,
            allow_root: false,
            clients: ClientsConfig::default(),
            etcd: EtcdConfig::default(),
            consul: ConsulConfig::default(),
        }
    }
}

/// Whether the path means a home directory to a shell: `~`, `~/…` or `~ann/…`.
fn has_tilde(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().starts_with(b"~")
}

fn check_limit(key: &'static str, value: usize) -> Result<(), InvalidRegistryConfig> {
    if (1..=LIMIT).contains(&value) {
        Ok(())
    } else {
        Err(InvalidRegistryConfig::Limit { key, value, limit: LIMIT })
    }
}

#[cfg(test)]
mod tests {
    use portolan_core::Remedy;

    use super::*;

    #[test]
    fn defaults_are_those_of_the_specification_on_loopback() {
        let json = serde_json::to_value(RegistryConfig::default()).unwrap();
        assert_eq!(json["listen_address"], "127.0.0.1:7000");
        assert_eq!(json["storage_backend"], "memory");
        let specified = serde_json::json!({
            "enabled": true, "listen_address": "127.0.0.1:7000", "storage_backend": "memory",
            "ttl_default": "60s", "cleanup_interval": "30s",
        });
        let read: RegistryConfig = serde_json::from_value(specified).unwrap();
        assert_eq!(read, RegistryConfig::default());
        read.validate().unwrap();
    }

    #[test]
    fn backend_that_is_not_built_in_is_rejected_with_the_way_to_get_it() {
        insta::assert_snapshot!(InvalidRegistryConfig::Backend("etcd").with_remedy());
        for (backend, is_built_in) in
            [("etcd", cfg!(feature = "etcd")), ("consul", cfg!(feature = "consul"))]
        {
            let json = format!(r#"{{"storage_backend": "{backend}"}}"#);
            let config: RegistryConfig = serde_json::from_str(&json).unwrap();
            assert_eq!(config.validate().is_ok(), is_built_in);
        }
    }

    #[test]
    fn invalid_values_are_rejected_with_their_key() {
        let texts = [
            r#"{"cleanup_interval": "0s"}"#,
            r#"{"data_dir": "~/registry"}"#,
            r#"{"max_view_age": "1s"}"#,
            r#"{"advertise_url": "http://registry-1:7000"}"#,
            r#"{"mass_expiry": {"share": 1.5}}"#,
            r#"{"mass_expiry": {"instances": 1}}"#,
            r#"{"mass_expiry": {"keep": "1h"}}"#,
            r#"{"clients": {"streams": 0}}"#,
            r#"{"max_endpoints": 0}"#,
            r#"{"history": 20000000}"#,
        ]
        .map(|json| {
            let config: RegistryConfig = serde_json::from_str(json).unwrap();
            config.validate().unwrap_err().with_remedy()
        });
        insta::assert_snapshot!(texts.join("\n"));
        let ttl_default = Duration::from_millis(500);
        let error = RegistryConfig { ttl_default, ..Default::default() }.validate().unwrap_err();
        assert!(error.to_string().starts_with("service_registry.ttl_default: "), "{error}");
        assert!(serde_json::from_str::<RegistryConfig>(r#"{"ttl": "60s"}"#).is_err());
        let proxies = r#"{"trusted_proxies": ["127.0.0.1", "10.0.0.0/8", "proxy"]}"#;
        let error = serde_json::from_str::<RegistryConfig>(proxies).unwrap_err().to_string();
        assert!(error.contains("\"proxy\" is not an IP address or a network"), "{error}");
    }
}
