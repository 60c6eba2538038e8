//! The version of the settings of the service, which others learn from its metadata.

use portolan_core::endpoint::SETTINGS_VERSION;
use portolan_core::{Registration, ServiceEndpoint};
use tokio::sync::watch;
use tracing::{debug, info};

/// Publishes the version of the settings with the service, so that its dependents read them again: the registry updates the
/// registration, and the channel gets an announcement `update`.
pub(crate) fn announce_settings(state: &watch::Sender<ServiceEndpoint>, version: u64) {
    let mut registration = Registration::from(state.borrow().clone());
    let (key, value) = (SETTINGS_VERSION.to_owned(), version.to_string());
    if registration.metadata.insert(key, value.clone()) == Some(value) {
        return;
    }
    if let Err(error) = registration.validate() {
        // There is no room for another entry.
        return debug!(%error, "Version of the settings not announced");
    }
    info!(service_id = ?registration.id, version, "Settings of the service have changed");
    state.send_modify(|endpoint| {
        endpoint.metadata.insert(SETTINGS_VERSION.to_owned(), version.to_string());
    });
}

/// Takes over the version into a registration that replaces the former one.
pub(crate) fn keep_settings(updated: &mut Registration, before: &ServiceEndpoint) {
    if let Some(version) = before.metadata.get(SETTINGS_VERSION)
        && !updated.metadata.contains_key(SETTINGS_VERSION)
    {
        updated.metadata.insert(SETTINGS_VERSION, version);
    }
}
