//! Whether a command comes from the owner of the instance.

use portolan_core::{Incarnation, Registration, ServiceEndpoint, ServiceId, Source};

use super::{CONSUL_NODE, CONSUL_SERVICE, Concerned, Known};
use crate::store::owner::Owner;
use crate::{Command, CommandOrigin, RegistryError};

/// Rejects a command on an instance that is registered in Consul: it has its own owner there.
pub(super) fn registered_in_consul(known: Known<'_>) -> Option<RegistryError> {
    let endpoint = known.endpoint;
    let entry = |key| endpoint.metadata.get(key).unwrap_or_default().to_owned();
    (endpoint.source == Source::Consul).then(|| RegistryError::RegisteredInConsul {
        id: endpoint.id.clone(),
        service: entry(CONSUL_SERVICE),
        node: entry(CONSUL_NODE),
    })
}

/// Rejects the command of an incarnation that was replaced. What was learned by broadcast replaces nothing
/// that registers.
pub(super) fn check_fenced(
    id: &ServiceId,
    incarnation: Option<Incarnation>,
    concerned: &Concerned<'_>,
    source: Source,
    is_rival: impl Fn(&ServiceEndpoint) -> bool,
) -> Result<(), RegistryError> {
    let Some(incarnation) = incarnation else { return Ok(()) };
    let has_fenced = |other: &Known<'_>| {
        other.endpoint.source <= source && other.owner.has_fenced(id, incarnation)
    };
    let id = id.clone();
    if let Some(Known { endpoint, .. }) = concerned.known.filter(has_fenced) {
        let owner = endpoint.incarnation;
        return Err(RegistryError::AnotherIncarnation { id, incarnation, owner });
    }
    let is_known = |known: Known<'_>| known.endpoint.incarnation == Some(incarnation);
    let successor = concerned.successor.filter(has_fenced).filter(|it| is_rival(it.endpoint));
    let Some(Known { endpoint, .. }) = successor.filter(|_| !concerned.known.is_some_and(is_known))
    else {
        return Ok(());
    };
    Err(RegistryError::Displaced {
        id,
        incarnation,
        successor: endpoint.id.clone(),
        address: endpoint.address(),
        owner: endpoint.incarnation,
    })
}

/// Rejects a command of another incarnation than the registration's.
pub(super) fn check_incarnation(
    command: &Command,
    endpoint: &ServiceEndpoint,
) -> Result<(), RegistryError> {
    match command.incarnation() {
        Some(incarnation) if endpoint.incarnation != Some(incarnation) => {
            let (id, owner) = (command.id(), endpoint.incarnation);
            Err(RegistryError::AnotherIncarnation { id, incarnation, owner })
        }
        _ => Ok(()),
    }
}

/// Rejects a registration from another host than the owner's, which is alive, unless the owner has moved
/// there, the registration says the same, or it asks to replace the owner.
pub(super) fn check_owner(
    registration: &Registration,
    new: &ServiceEndpoint,
    old: &ServiceEndpoint,
    owner: &Owner,
    origin: &CommandOrigin,
) -> Result<(), RegistryError> {
    let same_run = old.incarnation.is_some() && old.incarnation == new.incarnation;
    if registration.replace
        || same_run
        || new.same_contents(old)
        || owner.is_on_host_of(old, origin, new)
    {
        return Ok(());
    }
    Err(RegistryError::OwnedByAnother {
        id: new.id.clone(),
        owner: owner.peer,
        owner_address: old.address(),
        peer: origin.peer(),
        address: new.address(),
    })
}
