//! `portolan run`: runs a program as a service.

mod job_control;
mod report;
mod spec;
mod supervise;

use std::time::Duration;

use clap::Args;
use portolan_core::{Host, PortRange, Protocol, ServiceName, Ttl, parse_duration, port};
use portolan_health::{CheckKinds, CheckSpec};
use portolan_port_allocator::BindAddress;
use portolan_supervisor::child::exit_code;
use portolan_supervisor::leftovers::OwnerKind;
use portolan_supervisor::service::NamedPort;
use portolan_supervisor::{Handoff, Service, ServiceDeps, StopSignal};

use crate::context::Context;
use crate::endpoint_args::key_value;
use crate::exit::{CommandResult, Exit, Failure};
use crate::received_signals::ReceivedSignals;
use job_control::JobControl;
use report::Report;
use supervise::wait_for_end;

/// Options of `portolan run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Name of the service [default: the name of the program]
    #[arg(long)]
    name: Option<ServiceName>,
    /// Preferred port, also outside every pool; a list is tried in order [default: the default port
    /// of its pool]
    #[arg(long, value_name = "PORT[,PORT]", value_parser = port::parse, value_delimiter = ',')]
    preferred: Vec<u16>,
    /// Use one of the preferred ports, or none
    #[arg(long, requires = "preferred", conflicts_with_all = ["range", "allow_ephemeral"])]
    strict: bool,
    /// Pool of the port [default: derived from the name of the service]
    #[arg(long)]
    pool: Option<String>,
    /// Range of the port, such as 3000-3010
    #[arg(long, value_name = "START-END", conflicts_with = "pool")]
    range: Option<PortRange>,
    /// Use any free port if no other is available, regardless of port_allocator.allow_ephemeral;
    /// implied if the service has neither a preferred port nor a range nor a pool
    #[arg(long)]
    allow_ephemeral: bool,
    /// Additional port, leased together with the main port; repeatable. The program gets it as
    /// {port:NAME} and PORT_NAME, clients as the metadata port.NAME
    #[arg(long = "port", value_name = "NAME[=PORT[,PORT]|START-END][@POOL]")]
    ports: Vec<NamedPort>,
    /// Address that the program listens on: all, loopback, or an IP address of this host
    #[arg(long, value_name = "ADDRESS", default_value = "all")]
    bind: BindAddress,
    /// Lease the ports for UDP as well
    #[arg(long)]
    udp: bool,
    #[arg(long, value_name = "CHECK", default_value = "tcp", help = check_help())]
    health: CheckSpec,
    /// Protocol of the service [default: the protocol of its pool]
    #[arg(long)]
    protocol: Option<Protocol>,
    /// Advertised host [default: the address in --bind, else 127.0.0.1, or with a remote registry
    /// the address of the route to it]
    #[arg(long)]
    host: Option<Host>,
    /// Version of the service
    #[arg(long, value_name = "VERSION", default_value = "")]
    service_version: String,
    /// Metadata of the service; repeatable
    #[arg(long = "meta", value_name = "KEY=VALUE", value_parser = key_value)]
    metadata: Vec<(String, String)>,
    /// Time after which it expires without a heartbeat [default: service_registry.ttl_default]
    #[arg(long)]
    ttl: Option<Ttl>,
    /// How the program gets its ports: `socket` passes the listening sockets as descriptors 3 and
    /// up (sd_listen_fds(3)); `guard` passes the numbers and keeps a guard socket on each port;
    /// `number` passes the numbers only; `claim` expects another process to listen, as with `docker
    /// run`. `auto` selects by the program, and `socket` if the command has {fd}
    #[arg(long, value_name = "auto|socket|guard|number|claim", default_value = "auto")]
    handoff: Handoff,
    /// Time for callers to choose another instance before the program gets SIGTERM, if the registry has the service; part of
    /// --grace
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "50ms")]
    drain: Duration,
    /// Signal that asks the program to end [default: SIGINT for postgres, SIGQUIT for nginx, else SIGTERM]
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<StopSignal>,
    /// Time between the stop signal and SIGKILL when the program is stopped
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "4s")]
    grace: Duration,
    /// Do not add an argument with the port to the command of a program that does not read PORT, such as vite or flask
    #[arg(long)]
    no_port_argument: bool,
    /// Give the program PORTOLAN_TOKEN and PORTOLAN_BROADCAST_KEY, which every program of this user can then read
    #[arg(long)]
    pass_token: bool,
    /// Program and arguments; {port} is replaced by the leased port, which is also in PORT, and {fd}
    /// by the descriptor of its socket
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

impl Run {
    pub(crate) async fn run(self, context: &Context) -> CommandResult {
        let mut signals = ReceivedSignals::start()?;
        let grace = self.grace;
        let parts = parts(context).await?;
        let broadcaster = parts.broadcaster.clone();
        let spec = self.spec(context)?;
        let (name, host) = (spec.name.clone(), spec.host.clone());
        let terminal = spec.terminal;
        let job_control = JobControl::of(terminal)?;
        let service = Service::start(spec, parts).await?;
        let report = Report { name, host, quiet: context.quiet };
        report.print(&service, None);
        let status = wait_for_end(service, &mut signals, (grace, job_control), &report).await;
        if let Some(broadcaster) = broadcaster {
            broadcaster.stop().await;
        }
        Ok(Exit::Child(exit_code(status?)))
    }
}

fn check_help() -> String {
    let forms = CheckKinds::built_in().help();
    format!("Health check: {forms}; with options as in tcp#interval=5s&timeout=100ms")
}

async fn parts(context: &Context) -> Result<ServiceDeps, Failure> {
    Ok(ServiceDeps {
        allocator: context.settings().port_allocator.clone(),
        health: context.settings().health.clone(),
        metrics: context.metrics.clone(),
        registry: Some(context.registry()?),
        broadcaster: context.broadcaster().await?,
        shim: Some(super::shim::command()),
        record: Some(super::prune::record(context, OwnerKind::Run)?),
    })
}
