//! Leases a service's ports, and starts its program on them.

use portolan_port_allocator::{AllocatorError, PortAllocator};
use tracing::info;

use super::leases::Leases;
use super::{Parts, ServiceSpec, StartError};
use crate::child::Child;
use crate::handoff::Adoption;

/// A program that was started, and what it has.
type Started = (Option<Leases>, Child);

pub(super) fn open_allocator(parts: &Parts) -> Result<PortAllocator, AllocatorError> {
    let allocator = PortAllocator::new(parts.allocator.clone())?;
    Ok(allocator.with_metrics(parts.metrics.clone()))
}

pub(super) fn lease_ports(
    spec: &ServiceSpec,
    parts: &Parts,
    allocator: Option<&PortAllocator>,
) -> Result<Option<Leases>, AllocatorError> {
    let (Some(port), Some(allocator)) = (&spec.port, allocator) else { return Ok(None) };
    Leases::request(allocator, spec, port, &parts.allocator.pools()).map(Some)
}

pub(super) fn program(
    spec: &ServiceSpec,
    mut leases: Option<Leases>,
) -> Result<Started, StartError> {
    let (way, adoption) = (spec.way(), Adoption::of(&spec.command));
    leases.iter_mut().for_each(|leases| leases.before_start(way));
    let told = leases.as_ref().map(|leases| leases.told(adoption)).transpose()?;
    let inheritance = leases.as_ref().map(Leases::inheritance).transpose()?.unwrap_or_default();
    let started = inheritance
        .block(!adoption.non_blocking)
        .and_then(|()| spec.launch(told.unwrap_or_default()).start(&inheritance));
    drop(inheritance);
    let child = started.map_err(|source| StartError::of_program(&spec.command, source))?;
    leases.iter_mut().for_each(Leases::after_start);
    info!(
        service_name = %spec.name,
        port = leases.as_ref().map(Leases::port),
        handoff = %way,
        pid = child.pid(),
        "Program started"
    );
    Ok((leases, child))
}
