//! The domain types of Portolan, without I/O.
//!
//! Input is parsed into these types once and is valid from then on: a [`ServiceName`] satisfies the
//! naming rules, a [`Ttl`] is within its limits, and a [`ServiceEndpoint`] can be stored, announced
//! and connected to.

pub mod address_ports;
pub mod announcement;
pub mod backoff;
pub mod browser_ports;
pub mod check_results;
mod companion;
pub mod declared;
pub mod duration;
pub mod endpoint;
pub mod env;
pub mod event;
mod file_stamp;
pub mod filter;
pub mod fnv;
pub mod health;
pub mod hex;
pub mod host;
pub mod host_pattern;
pub mod incarnation;
pub mod kubernetes_name;
pub mod map_only;
pub mod merge_patch;
mod metadata;
pub mod name;
pub mod network;
pub mod plain;
pub mod pools;
pub mod port;
pub mod port_range;
pub mod quote;
pub mod reach;
mod regular_file;
pub mod remedy;
mod replace_file;
pub mod schemes;
pub mod secret;
pub mod suggest;
mod text_enum;
mod tls;
pub mod token_bucket;
mod unique_names;

pub use address_ports::{ADDRESS_PORTS, AddressPort};
pub use announcement::{Action, Body, Message, ServiceAnnouncement, ServiceQuery};
pub use backoff::Backoff;
pub use browser_ports::is_blocked_by_browsers;
pub use check_results::CheckResults;
pub use companion::companion_program;
pub use declared::{DeclaredInstance, DeclaredState};
pub use duration::{InvalidDuration, Ttl, parse_duration};
pub use endpoint::{EndpointMembers, InvalidRegistration, Registration, ServiceEndpoint, Source};
pub use event::{Change, Revision, ServiceEvent};
pub use file_stamp::FileStamp;
pub use filter::matches_any;
pub use fnv::fnv1a;
pub use health::{HealthReport, HealthStatus};
pub use host::Host;
pub use host_pattern::HostPattern;
pub use incarnation::Incarnation;
pub use kubernetes_name::KubernetesName;
pub use map_only::MapOnly;
pub use metadata::Metadata;
pub use name::{PortName, Protocol, Scope, ServiceId, ServiceName};
pub use network::IpNetwork;
pub use plain::{escaped, escaped_line};
pub use pools::{Pool, PoolRange, Pools};
pub use port_range::PortRange;
pub use quote::{quoted, shell_word};
pub use reach::Vantage;
pub use regular_file::{open_regular, read_regular};
pub use remedy::Remedy;
pub use replace_file::replace_file;
pub use secret::Secret;
pub use suggest::suggest;
pub use tls::{ServerTlsConfig, TlsConfig};
pub use token_bucket::TokenBucket;
pub use unique_names::unique_names;

/// The HTTP header in which a client of a registry sends the id of its network stack, so that the registry does not take a
/// client behind a tunnel for one on its own host.
pub const NETWORK_ID_HEADER: &str = "portolan-network";

/// The HTTP header in which a registry with several servers lists the URLs that they advertise, separated by commas.
pub const SERVERS_HEADER: &str = "portolan-servers";

/// The default port of the registry.
pub const REGISTRY_PORT: u16 = 7000;
/// The default multicast group and port of the broadcast channel.
pub const BROADCAST_CHANNEL: &str = "239.255.0.1:7001";
