//! The options that describe an endpoint, for `register` and `announce`.

use std::collections::BTreeMap;

use clap::Args;
use portolan_core::{Host, Protocol, Registration, Scope, ServiceId, ServiceName, Ttl, port};
use portolan_health::CheckKinds;

use crate::exit::Failure;

/// The options that describe an endpoint.
#[derive(Debug, Args)]
pub(crate) struct EndpointArgs {
    /// Name of the service
    name: ServiceName,
    /// Host of the endpoint
    #[arg(long, default_value = "127.0.0.1")]
    host: Host,
    /// Port of the endpoint
    #[arg(long, value_parser = port::parse)]
    port: u16,
    /// Protocol of the endpoint
    #[arg(long, default_value = "tcp")]
    protocol: Protocol,
    /// Version of the service
    #[arg(long, value_name = "VERSION", default_value = "")]
    service_version: String,
    /// Metadata; repeatable
    #[arg(long = "meta", value_name = "KEY=VALUE", value_parser = key_value)]
    metadata: Vec<(String, String)>,
    #[arg(long, value_name = "URL", help = health_url_help())]
    health_url: Option<String>,
    /// Time after which it expires without a heartbeat, from 1s to 24h
    #[arg(long)]
    ttl: Option<Ttl>,
    /// Id of the instance [default: derived from scope, name, host and port]
    #[arg(long)]
    id: Option<ServiceId>,
}

// === impl EndpointArgs ===

impl EndpointArgs {
    /// Returns the registration that the options describe.
    pub(crate) fn registration(self, scope: &Scope) -> Result<Registration, Failure> {
        let registration = Registration {
            id: self.id,
            scope: scope.clone(),
            protocol: self.protocol,
            version: self.service_version,
            metadata: self.metadata.into_iter().collect::<BTreeMap<_, _>>(),
            health_url: self.health_url,
            ttl: self.ttl,
            ..Registration::new(self.name, self.host, self.port)
        };
        registration.validate().map_err(Failure::usage)?;
        Ok(registration)
    }
}

fn health_url_help() -> String {
    format!("URL of the health check: {}", CheckKinds::built_in().url_help())
}

/// Reads `KEY=VALUE`.
pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("invalid metadata {text:?}; expected KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}
