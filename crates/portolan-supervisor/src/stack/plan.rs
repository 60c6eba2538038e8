//! What the file says of a service, as the description that starts it.

use std::path::{Path, PathBuf};

use portolan_core::{Pools, PortRange, ServiceName};
use portolan_health::CheckSpec;

use super::StackContext;
use super::error::InvalidStack;
use super::file::{MainPort, ServiceEntry};
use crate::CommandLine;
use crate::placeholders::Placeholders;
use crate::port_argument::{PortArgument, port_argument};
use crate::service::{PortSpec, ServiceSpec};

/// The environment variable with the number of the instance, counted from 1.
const REPLICA: &str = "PORTOLAN_REPLICA";

pub(super) fn spec_of(
    name: &ServiceName,
    entry: &ServiceEntry,
    number: u16,
    context: &StackContext,
) -> Result<ServiceSpec, InvalidStack> {
    let mut environment = context.environment.clone();
    environment.insert(REPLICA.to_owned(), number.to_string());
    let mut placeholders = Placeholders::default();
    placeholders.insert("replica", number.to_string());
    environment.extend(entry.env.clone());
    let folder = folder_of(entry, context);
    let command = command_of(name, entry, context)?.0;
    let stop_command = entry
        .stop_command_line()
        .map_err(|problem| InvalidStack::StopCommand { service: name.clone(), problem })?;
    let account = entry
        .account()
        .map_err(|problem| InvalidStack::Account { service: name.clone(), problem })?;
    Ok(ServiceSpec {
        account,
        name: name.clone(),
        scope: context.scope.clone(),
        command,
        port: port_of(entry, context),
        host: context.host.clone(),
        follow_addresses: true,
        protocol: entry.protocol.clone(),
        version: entry.version.clone(),
        metadata: entry.metadata.clone(),
        check: check_of(entry),
        ttl: entry.ttl.unwrap_or(context.ttl),
        drain: entry.drain.unwrap_or_default().duration(),
        handoff: entry.handoff,
        environment,
        placeholders,
        directory: Some(folder),
        stop_command,
        stop_signal: entry.stop_signal,
        terminal: entry.terminal(),
    })
}

/// Returns what is started, with the port as an argument if the program would not learn it otherwise.
pub(super) fn command_of(
    name: &ServiceName,
    entry: &ServiceEntry,
    context: &StackContext,
) -> Result<(CommandLine, Option<PortArgument>), InvalidStack> {
    let command = entry
        .command_line()
        .map_err(|problem| InvalidStack::Command { service: name.clone(), problem })?;
    let is_asked = entry.port_argument && entry.port != MainPort::None;
    let folder = folder_of(entry, context);
    match port_argument(&command, &entry.env, &folder).filter(|_| is_asked) {
        Some(argument) => Ok((argument.added_to(&command), Some(argument))),
        None => Ok((command, None)),
    }
}

fn folder_of(entry: &ServiceEntry, context: &StackContext) -> PathBuf {
    context.folder.join(entry.directory.as_deref().unwrap_or(Path::new("")))
}

/// Returns the health check. A service with a port and no configured check gets a TCP check.
fn check_of(entry: &ServiceEntry) -> Option<CheckSpec> {
    match entry.port {
        MainPort::None => None,
        _ => Some(entry.health.clone().unwrap_or_else(tcp)),
    }
}

fn tcp() -> CheckSpec {
    "tcp".parse().expect("tcp is a check")
}

fn port_of(entry: &ServiceEntry, context: &StackContext) -> Option<PortSpec> {
    let preferred = match entry.port {
        MainPort::None => return None,
        MainPort::PoolDefault => Vec::new(),
        MainPort::Preferred(ref ports) => ports.clone(),
    };
    Some(PortSpec {
        preferred,
        strict: entry.strict,
        range: entry.range.map(PortRange::from),
        pool: entry.pool.clone(),
        allow_ephemeral: None,
        folder: Some(context.folder.clone()),
        bind: entry.bind,
        udp: entry.udp,
        // Worktrees of a project are more than a pool has ports.
        beyond_pool: entry.pool.is_none(),
        named: entry.ports.clone(),
    })
}

/// Returns the port that the service gets if it is free.
pub(super) fn wanted_port(name: &ServiceName, entry: &ServiceEntry, pools: &Pools) -> Option<u16> {
    match &entry.port {
        MainPort::None => None,
        MainPort::Preferred(ports) => ports.first().copied(),
        MainPort::PoolDefault if entry.range.is_some() => None,
        MainPort::PoolDefault => {
            let pool = match &entry.pool {
                Some(pool) => pools.get(pool),
                None => pools.of_service(name.as_str()),
            };
            pool.map(|pool| pool.default_port)
        }
    }
}
