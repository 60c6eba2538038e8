//! The options of `portolan run` as the description of a service.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use portolan_core::endpoint::CHECKED_BY_AGENT;
use portolan_core::{Host, Ttl};
use portolan_host_facts::ProcessStat;
use portolan_port_allocator::BindAddress;
use portolan_supervisor::child::Terminal;
use portolan_supervisor::port_argument::port_argument;
use portolan_supervisor::service::{PortSpec, validate};
use portolan_supervisor::{CommandLine, ServiceSpec};

use super::Run;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output;

impl Run {
    pub(super) fn spec(self, context: &Context) -> Result<ServiceSpec, Failure> {
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
                beyond_pool: false,
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
            stop_command: None,
            stop_signal: self.stop_signal,
            // With a terminal the program may read from it; without one it gets its own process
            // group, so that its children can be stopped with it.
            terminal: if shares_terminal() { Terminal::Shared } else { Terminal::OwnGroup },
        })
    }
}

/// Whether standard input is a terminal, and the program can be in the process group of this process: in a process namespace the leader
/// of the group may be outside, so that the group has no number.
fn shares_terminal() -> bool {
    let group = || ProcessStat::read(std::process::id()).and_then(|stat| stat.group);
    std::io::stdin().is_terminal() && group().is_some()
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

/// Returns the host of a program that listens on a single address.
fn bound_host(bind: BindAddress) -> Option<Host> {
    match bind {
        BindAddress::Ip(address) if !address.is_unspecified() => address.to_string().parse().ok(),
        _ => None,
    }
}
