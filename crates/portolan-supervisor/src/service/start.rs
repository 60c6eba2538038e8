//! Leases the ports of a service and starts its program.

use portolan_port_allocator::{AllocatorError, PortAllocator};
use tracing::info;

use super::leases::Leases;
use super::{ServiceDeps, ServiceSpec, StartError};
use crate::child::{Child, Launch};
use crate::handoff::Adoption;

/// A started program, its leases, and the command that stops it.
pub(super) struct Started {
    pub(super) leases: Option<Leases>,
    pub(super) child: Child,
    pub(super) stop_command: Option<Launch>,
}

pub(super) fn open_allocator(deps: &ServiceDeps) -> Result<PortAllocator, AllocatorError> {
    let allocator = PortAllocator::new(deps.allocator.clone())?;
    Ok(allocator.with_metrics(deps.metrics.clone()))
}

pub(super) fn lease_ports(
    spec: &ServiceSpec,
    deps: &ServiceDeps,
    allocator: Option<&PortAllocator>,
) -> Result<Option<Leases>, AllocatorError> {
    let (Some(port), Some(allocator)) = (&spec.port, allocator) else { return Ok(None) };
    Leases::request(allocator, spec, port, &deps.allocator.pools()).map(Some)
}

pub(super) async fn program(
    spec: &ServiceSpec,
    deps: &ServiceDeps,
    mut leases: Option<Leases>,
) -> Result<Started, StartError> {
    let (mode, adoption) = (spec.handoff_mode(), Adoption::for_command(&spec.command));
    leases.iter_mut().for_each(|leases| leases.before_start(mode));
    let told = leases.as_ref().map(|leases| leases.port_env(adoption)).transpose()?;
    let mut inherited = leases.as_ref().map(Leases::inherited).transpose()?.unwrap_or_default();
    inherited.without_environment = adoption.by_argument_only;
    let (launch, stop_command) = spec.launch(told.unwrap_or_default(), deps);
    let started = match inherited.set_blocking(!adoption.non_blocking) {
        Ok(()) => launch.start(&inherited).await,
        Err(error) => Err(error),
    };
    drop(inherited);
    let child = started.map_err(|source| StartError::program(&spec.command, source))?;
    leases.iter_mut().for_each(Leases::after_start);
    info!(
        service_name = %spec.name,
        port = leases.as_ref().map(Leases::port),
        handoff = %mode,
        pid = child.pid(),
        "Program started"
    );
    Ok(Started { leases, child, stop_command })
}
