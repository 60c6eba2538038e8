//! An endpoint on the command line, as `register` and `announce` take it.

use std::collections::BTreeMap;

use clap::Args;
use portolan_core::{Host, Protocol, Registration, Scope, ServiceId, ServiceName, Ttl, port};

use crate::exit::Failure;

/// What a service says of itself.
#[derive(Debug, Args)]
pub(crate) struct EndpointArgs {
    /// The service's name
    name: ServiceName,
    /// Where it is reached
    #[arg(long, default_value = "127.0.0.1")]
    host: Host,
    /// The port it is reached on
    #[arg(long, value_parser = port::parse)]
    port: u16,
    /// What it speaks
    #[arg(long, default_value = "tcp")]
    protocol: Protocol,
    /// Its version
    #[arg(long, value_name = "VERSION", default_value = "")]
    service_version: String,
    /// A fact to pass on; can be repeated
    #[arg(long = "meta", value_name = "KEY=VALUE", value_parser = key_value)]
    metadata: Vec<(String, String)>,
    /// Where its health can be asked: an http:// or tcp:// URL
    #[arg(long, value_name = "URL")]
    health_url: Option<String>,
    /// How long it stays known without a sign of life, from 1s to 24h
    #[arg(long)]
    ttl: Option<Ttl>,
    /// Its id [default: made from scope, name, host and port]
    #[arg(long)]
    id: Option<ServiceId>,
}

// === impl EndpointArgs ===

impl EndpointArgs {
    /// The registration that these options describe.
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

/// Reads `KEY=VALUE`.
pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}
