//! `portolan run`: runs a program as a service.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use clap::Args;
use portolan_core::endpoint::CHECKED_BY_AGENT;
use portolan_core::{Host, PortRange, Protocol, ServiceName, Ttl, parse_duration, port};
use portolan_health::{CheckKinds, CheckSpec};
use portolan_port_allocator::BindAddress;
use portolan_supervisor::child::{Terminal, exit_code};
use portolan_supervisor::port_argument::port_argument;
use portolan_supervisor::service::{NamedPort, PortSpec, validate};
use portolan_supervisor::{CommandLine, Handoff, Service, ServiceDeps, ServiceSpec, StopSignal};
use rustix::process::Signal;

use crate::context::Context;
use crate::endpoint_args::key_value;
use crate::exit::{CommandResult, Exit, Failure};
use crate::output;
use crate::received_signals::{Received, ReceivedSignals};

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
    #[arg(long = "port", value_name = "NAME[=PREFERRED][@POOL]")]
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
        let service = Service::start(spec, parts).await?;
        let report = Report { name, host, quiet: context.quiet };
        report.print(&service, None);
        let status = wait_for_end(service, &mut signals, (grace, terminal), &report).await;
        if let Some(broadcaster) = broadcaster {
            broadcaster.stop().await;
        }
        Ok(Exit::Child(exit_code(status?)))
    }

    fn spec(self, context: &Context) -> Result<ServiceSpec, Failure> {
        let command = CommandLine::new(self.command).map_err(Failure::usage)?;
        let name = match self.name {
            Some(name) => name,
            None => command.program_name().parse().map_err(|error| {
                Failure::usage(format_args!(
                    "the name of the program is not a valid service name: {error}"
                ))
                .remedy("set --name")
            })?,
        };
        check_metadata(&self.metadata)?;
        let url = context.registry_url();
        let environment = context.environment(&url, self.pass_token);
        validate(&command, &environment, &self.ports, self.handoff)
            .map_err(|error| Failure::from_error(Exit::Usage, &error))?;
        let folder = std::env::current_dir().unwrap_or_default();
        let argument = port_argument(&command, &environment, &folder);
        let command = match argument.filter(|_| !self.no_port_argument) {
            Some(argument) => {
                if !context.quiet {
                    output::note(format_args!(
                        "{name}: {argument} (--no-port-argument turns this off)"
                    ));
                }
                argument.added_to(&command)
            }
            None => command,
        };
        let host = self.host.or_else(|| bound_host(self.bind));
        Ok(ServiceSpec {
            name,
            scope: context.scope.clone(),
            port: Some(PortSpec {
                preferred: self.preferred,
                strict: self.strict,
                range: self.range,
                pool: self.pool,
                allow_ephemeral: self.allow_ephemeral.then_some(true),
                folder: std::env::current_dir().ok(),
                bind: self.bind,
                udp: self.udp,
                named: self.ports,
            }),
            command,
            follow_addresses: host.is_none() && self.bind == BindAddress::Any,
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
            drain: self.drain,
            handoff: self.handoff,
            environment,
            placeholders: Default::default(),
            account: None,
            directory: None::<PathBuf>,
            stop_signal: self.stop_signal,
            // With a terminal the program may read from it; without one it gets its own process
            // group, so that its children can be stopped with it.
            terminal: if std::io::stdin().is_terminal() {
                Terminal::Shared
            } else {
                Terminal::OwnGroup
            },
        })
    }
}

/// Fails if an entry would be replaced by what the agent declares.
fn check_metadata(metadata: &[(String, String)]) -> Result<(), Failure> {
    let (reserved, _) = CHECKED_BY_AGENT;
    match metadata.iter().find(|(key, _)| key == reserved) {
        Some((key, value)) => Err(Failure::usage(format_args!(
            "invalid --meta {key}={value}: the agent of `run` sets the key {key}"
        ))
        .remedy("choose another key")),
        None => Ok(()),
    }
}

fn check_help() -> String {
    let forms = CheckKinds::built_in().help();
    format!("Health check: {forms}; with options as in tcp#interval=5s&timeout=100ms")
}

/// Returns the host of a program that listens on a single address.
fn bound_host(bind: BindAddress) -> Option<Host> {
    match bind {
        BindAddress::Ip(address) if !address.is_unspecified() => address.to_string().parse().ok(),
        _ => None,
    }
}

/// Tells the user where the service is.
struct Report {
    name: ServiceName,
    host: Host,
    quiet: bool,
}

impl Report {
    /// Prints where the service is, as far as it is known: another user may be faster than a program that has not
    /// listened yet. `before` is whether the service was awaited before the last event.
    fn print(&self, service: &Service, before: Option<(bool, u16)>) {
        let Some(port) = service.port().filter(|_| !self.quiet) else { return };
        let now = (service.is_awaited(), port);
        if before == Some(now) {
            return;
        }
        let (name, address) = (&self.name, self.host.with_port(port));
        let named = service.named_ports().into_iter();
        let named: String = named.map(|(name, port)| format!(", {name} at {port}")).collect();
        match now.0 {
            true => output::note(format_args!(
                "{name} has port {port}{named}, and is announced once its program listens"
            )),
            false => output::note(format_args!("{name} at {address}{named}")),
        }
    }
}

/// Runs the service until its program ends. Signals are forwarded as they are received; SIGTERM and SIGINT deregister the
/// service first.
async fn wait_for_end(
    mut service: Service,
    signals: &mut ReceivedSignals,
    (grace, terminal): (Duration, Terminal),
    report: &Report,
) -> Result<ExitStatus, Failure> {
    loop {
        let turn = tokio::select! {
            turn = service.wait() => turn,
            received = signals.next() => {
                match action(received, terminal) {
                    Action::None => {}
                    Action::Forward => service.child_mut().forward(received.signal),
                    Action::Stop => {
                        return stop_service(service, signals, grace, received.signal).await;
                    }
                }
                continue;
            }
        };
        let before = service.port().map(|port| (service.is_awaited(), port));
        let ended = service.handle(turn).await;
        if matches!(ended, Ok(None)) {
            report.print(&service, before);
        }
        if let Some(ended) = ended.transpose() {
            service.finish().await;
            return Ok(ended?);
        }
    }
}

/// What a received signal means.
#[derive(Debug, PartialEq, Eq)]
enum Action {
    None,
    Forward,
    Stop,
}

fn action(received: Received, terminal: Terminal) -> Action {
    match terminal {
        // The program is in the foreground process group, so the terminal has sent it the same signal.
        Terminal::Shared if received.by_terminal => Action::None,
        _ if received.requests_stop() => Action::Stop,
        // Servers such as nginx use this signal for another purpose.
        _ if received.by_terminal && received.signal == Signal::WINCH => Action::None,
        _ => Action::Forward,
    }
}

/// Stops the service. A second request skips the grace period.
async fn stop_service(
    service: Service,
    signals: &mut ReceivedSignals,
    grace: Duration,
    signal: Signal,
) -> Result<ExitStatus, Failure> {
    let hurry = service.skip_grace();
    let stopping = async {
        match signal {
            Signal::INT => service.stop_by(StopSignal::INT, grace).await,
            _ => service.stop(grace).await,
        }
    };
    tokio::pin!(stopping);
    let ended = loop {
        tokio::select! {
            ended = &mut stopping => break ended,
            again = signals.next() => if again.requests_stop() {
                hurry.cancel();
            }
        }
    };
    ended.map_err(|error| {
        Failure::failed(format_args!("cannot get the exit status of the program: {error}"))
    })
}

async fn parts(context: &Context) -> Result<ServiceDeps, Failure> {
    Ok(ServiceDeps {
        allocator: context.settings().port_allocator.clone(),
        health: context.settings().health.clone(),
        metrics: context.metrics.clone(),
        registry: Some(context.registry()?),
        broadcaster: context.broadcaster().await?,
        shim: Some(super::shim::command()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_that_shares_the_terminal_gets_no_signal_twice() {
        let received = |signal, by_terminal| Received { signal, by_terminal };
        for signal in [Signal::INT, Signal::QUIT, Signal::WINCH, Signal::HUP] {
            assert_eq!(action(received(signal, true), Terminal::Shared), Action::None);
        }
        assert_eq!(action(received(Signal::INT, false), Terminal::Shared), Action::Stop);
        assert_eq!(action(received(Signal::INT, true), Terminal::OwnGroup), Action::Stop);
        assert_eq!(action(received(Signal::WINCH, true), Terminal::OwnGroup), Action::None);
        for signal in [Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2, Signal::WINCH] {
            assert_eq!(action(received(signal, false), Terminal::OwnGroup), Action::Forward);
        }
    }
}
