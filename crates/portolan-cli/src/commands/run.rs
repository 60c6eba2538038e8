//! `portolan run`: one program as a service.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use clap::Args;
use portolan_core::{Host, Protocol, ServiceName, Ttl, parse_duration, port};
use portolan_health::CheckSpec;
use portolan_port_allocator::BindAddress;
use portolan_supervisor::child::{Terminal, exit_code};
use portolan_supervisor::service::{NamedPort, PortSpec, check};
use portolan_supervisor::{CommandLine, Handoff, Parts, Service, ServiceSpec};

use crate::context::Context;
use crate::endpoint_args::key_value;
use crate::exit::{Ending, Exit, Failure};
use crate::output;
use crate::shutdown::{self, Requested};

/// Options of `portolan run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The service's name [default: the program's]
    #[arg(long)]
    name: Option<ServiceName>,
    /// The port it would like [default: its pool's]
    #[arg(long, value_name = "PORT", value_parser = port::parse)]
    preferred: Option<u16>,
    /// The pool its port comes from [default: as its name tells]
    #[arg(long)]
    pool: Option<String>,
    /// Takes any free port in the end, whatever port_allocator.allow_ephemeral says; so does a
    /// program for which neither a port nor a pool is known
    #[arg(long)]
    allow_ephemeral: bool,
    /// A further port, which it gets together with the first or not at all; can be repeated. It
    /// stands in {port:NAME} and PORT_NAME, and is announced as the fact port.NAME
    #[arg(long = "port", value_name = "NAME[=PREFERRED][@POOL]")]
    ports: Vec<NamedPort>,
    /// The address that it listens on: all, loopback, or an address of this host
    #[arg(long, value_name = "ADDRESS", default_value = "all")]
    bind: BindAddress,
    /// Its ports must be free in UDP too
    #[arg(long)]
    udp: bool,
    /// How its health is checked: tcp, http:/path, ttl:15s, none
    #[arg(long, value_name = "CHECK", default_value = "tcp")]
    health: CheckSpec,
    /// What it speaks [default: its pool's protocol]
    #[arg(long)]
    protocol: Option<Protocol>,
    /// Where others reach it [default: the address of --bind, else 127.0.0.1, or the address of the
    /// route to a remote registry]
    #[arg(long)]
    host: Option<Host>,
    /// Its version
    #[arg(long, value_name = "VERSION", default_value = "")]
    service_version: String,
    /// A fact that is announced with it; can be repeated
    #[arg(long = "meta", value_name = "KEY=VALUE", value_parser = key_value)]
    metadata: Vec<(String, String)>,
    /// How long it stays known without a sign of life [default: service_registry.ttl_default]
    #[arg(long)]
    ttl: Option<Ttl>,
    /// How the program gets its ports: as the sockets themselves, from descriptor 3 on
    /// (sd_listen_fds(3)); as numbers beside a guard that keeps strangers off; as numbers alone; or
    /// as a claim, for another process to listen on its behalf, as for `docker run`. `auto` does as
    /// the program is known to need it; {fd} in the command asks for the sockets
    #[arg(long, value_name = "auto|socket|guard|number|claim", default_value = "auto")]
    handoff: Handoff,
    /// How long the program has to end by itself when we are told to stop
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "4s")]
    grace: Duration,
    /// The program and its arguments; {port} is the leased port, which PORT holds too, and {fd} the
    /// number of the socket on it
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

impl Run {
    pub(crate) async fn run(self, context: &Context) -> Ending {
        let mut stop = shutdown::requested()?;
        let grace = self.grace;
        let parts = parts(context).await?;
        let broadcaster = parts.broadcaster.clone();
        let spec = self.spec(context)?;
        let (name, host) = (spec.name.clone(), spec.host.clone());
        let service = Service::start(spec, parts).await?;
        if let Some(port) = service.port().filter(|_| !context.quiet) {
            let named = service.named_ports().into_iter();
            let named: String = named.map(|(name, port)| format!(", {name} at {port}")).collect();
            output::note(format_args!("{name} at {}{named}", host.with_port(port)));
        }
        let ended = until_ended(service, &mut stop, grace).await;
        if let Some(broadcaster) = broadcaster {
            broadcaster.stop().await;
        }
        Ok(Exit::Child(exit_code(ended?)))
    }

    fn spec(self, context: &Context) -> Result<ServiceSpec, Failure> {
        let command = CommandLine::new(self.command).map_err(Failure::usage)?;
        let name = match self.name {
            Some(name) => name,
            None => command.program_name().parse().map_err(|error| {
                Failure::usage(format_args!(
                    "the program's name makes no service name ({error}); give --name"
                ))
            })?,
        };
        let url = context.registry_url();
        let environment = context.environment(&url);
        check(&command, &environment, &self.ports, self.handoff).map_err(Failure::usage)?;
        let host = self.host.or_else(|| host_of(self.bind));
        Ok(ServiceSpec {
            name,
            scope: context.scope.clone(),
            port: Some(PortSpec {
                preferred: self.preferred,
                pool: self.pool,
                allow_ephemeral: self.allow_ephemeral.then_some(true),
                folder: std::env::current_dir().ok(),
                bind: self.bind,
                udp: self.udp,
                named: self.ports,
            }),
            command,
            host: host.unwrap_or_else(|| portolan_agent::advertised_host(&url)),
            protocol: self.protocol,
            version: self.service_version,
            metadata: self.metadata.into_iter().collect::<BTreeMap<_, _>>(),
            check: Some(self.health),
            ttl: match self.ttl {
                Some(ttl) => ttl,
                None => {
                    Ttl::new(context.settings().service_registry.ttl_default).map_err(|error| {
                        Failure::usage(format_args!("service_registry.ttl_default: {error}"))
                    })?
                }
            },
            handoff: self.handoff,
            environment,
            directory: None::<PathBuf>,
            // A person at the terminal may want to speak to the program; else it has a group of
            // its own, so that all that it starts can be ended with it.
            terminal: match std::io::stdin().is_terminal() {
                true => Terminal::Shared,
                false => Terminal::OwnGroup,
            },
        })
    }
}

/// Where others reach what listens on one address only.
fn host_of(bind: BindAddress) -> Option<Host> {
    match bind {
        BindAddress::Ip(address) if !address.is_unspecified() => address.to_string().parse().ok(),
        _ => None,
    }
}

/// Stays with the service until its program has ended, by itself or since we were asked to end.
async fn until_ended(
    mut service: Service,
    stop: &mut Requested,
    grace: Duration,
) -> Result<ExitStatus, Failure> {
    loop {
        let turn = tokio::select! {
            turn = service.wait() => turn,
            () = stop.wait() => return stop_service(service, stop, grace).await,
        };
        let ended = service.take(turn).await;
        if let Some(ended) = ended.transpose() {
            service.finish().await;
            return Ok(ended?);
        }
    }
}

/// Whoever asks a second time does not want to wait for the grace.
async fn stop_service(
    service: Service,
    stop: &mut Requested,
    grace: Duration,
) -> Result<ExitStatus, Failure> {
    let hurry = service.hurry();
    let stopping = service.stop(grace);
    tokio::pin!(stopping);
    let ended = tokio::select! {
        ended = &mut stopping => ended,
        () = stop.wait() => {
            hurry.cancel();
            stopping.await
        }
    };
    ended.map_err(|error| {
        Failure::failed(format_args!("cannot tell how the program ended: {error}"))
    })
}

async fn parts(context: &Context) -> Result<Parts, Failure> {
    Ok(Parts {
        allocator: context.settings().port_allocator.clone(),
        health: context.settings().health.clone(),
        metrics: context.metrics.clone(),
        registry: Some(context.registry()?),
        broadcaster: context.broadcaster().await?,
    })
}
