//! The options that describe an endpoint, for `register` and `announce`.

use clap::Args;
use portolan_agent::{AdvertisedAddresses, resolved_loopback, with_advertised_addresses};
use portolan_core::{Host, Protocol, Registration, Scope, ServiceId, ServiceName, Ttl, port};
use portolan_health::CheckKinds;
use portolan_supervisor::service::{Listening, listening_on};

use crate::context::Context;
use crate::exit::Failure;
use crate::output;

/// The options that describe an endpoint.
#[derive(Debug, Clone, Args)]
pub(crate) struct EndpointArgs {
    /// Name of the service
    name: ServiceName,
    /// Host of the endpoint [default: every address on which the port is listened on, first the one of the
    /// route to the registry]
    #[arg(long)]
    host: Option<Host>,
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
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn protocol(&self) -> &Protocol {
        &self.protocol
    }

    /// Returns the registration that the options describe. Without `--host` it has the addresses that an agent
    /// would advertise, and a person is told if that is loopback only.
    pub(crate) async fn registration(self, context: &Context) -> Result<Registration, Failure> {
        let (given, port) = (self.host.clone(), self.port);
        let registration = self.described(&context.scope)?;
        if given.is_some() {
            let host = resolved_loopback(registration.host).await;
            return Ok(Registration { host, ..registration });
        }
        let url = context.registry_url();
        let advertised = match listening_on(port) {
            Listening::Everywhere(advertised) => advertised,
            Listening::Loopback => AdvertisedAddresses::Host,
            Listening::Address(host) => return Ok(Registration { host, ..registration }),
        };
        let explicit_id = registration.id.clone();
        let mut registration =
            with_advertised_addresses(registration, advertised, Some(&url)).await;
        registration.id = explicit_id.or(registration.id);
        // On another host they would mean that host.
        registration.addresses.retain(|host| !host.is_loopback());
        let is_loopback = registration.host.is_loopback() && registration.addresses.is_empty();
        if is_loopback && !context.quiet {
            output::note(match advertised {
                AdvertisedAddresses::Host => format!(
                    "port {port} is listened on at loopback only: other hosts cannot reach it; set --host \
                     if that is wrong"
                ),
                _ => "this host has no address but loopback: other hosts cannot reach the endpoint"
                    .to_owned(),
            });
        }
        Ok(registration)
    }

    fn described(self, scope: &Scope) -> Result<Registration, Failure> {
        let host = self.host.unwrap_or_else(Host::loopback);
        let registration = Registration {
            id: self.id,
            scope: scope.clone(),
            protocol: self.protocol,
            version: self.service_version,
            metadata: self.metadata.into_iter().collect(),
            health_url: self.health_url,
            ttl: self.ttl,
            ..Registration::new(self.name, host, self.port)
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
