//! Reads the keys of a registry in Consul, without a session and without writing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use portolan_consul::{ConsulClient, KvEntry, KvList};
use portolan_core::{ServiceId, Source};

use super::NAME;
use super::fault::StoreFault;
use super::keys::{Guard, Keys, Kind};
use super::log::Floor;
use super::plan::guards;
use super::record::Value;
use super::settings::decode;
use crate::store::inspect::{InspectError, Inspection, StoreProblem};
use crate::store::record::StoreRecord;
use crate::store::remote::{LAST, revision};
use crate::{RegistryConfig, SettingsRecord};

pub(super) fn inspect(config: &RegistryConfig) -> BoxFuture<'_, Result<Inspection, InspectError>> {
    async move {
        let consul = &config.consul;
        let client = ConsulClient::new(&consul.options()?).map_err(|error| failed(error.into()))?;
        let keys = Keys::new(&consul.prefix);
        let found = read(&client, &keys).await.map_err(failed)?;
        let location = format!("{} in {}", consul.prefix, consul.url);
        Ok(inspection(&keys, location, &found))
    }
    .boxed()
}

/// Reads every key. A prefix without any is an empty registry.
async fn read(client: &ConsulClient, keys: &Keys) -> Result<KvList, StoreFault> {
    let found = client.list(&keys.all(), 0, Duration::ZERO).await?;
    let format = found.entries.iter().find(|entry| entry.key == keys.format());
    let format = format.map(|format| format.value().unwrap_or_default());
    let other = found.entries.first().map(|entry| entry.key.as_bytes());
    StoreFault::check_prefix(NAME, keys.prefix(), format.as_deref(), other)?;
    Ok(found)
}

fn inspection(keys: &Keys, location: String, found: &KvList) -> Inspection {
    let mut inspection = Inspection {
        store: NAME,
        location,
        revision: revision(found.index, LAST),
        records: Vec::new(),
        settings: Vec::new(),
        servers: Vec::new(),
        problems: Vec::new(),
    };
    let guards = guards_in(keys, found);
    for entry in &found.entries {
        match keys.parse(&entry.key) {
            Kind::Endpoint(id) => match record(entry, &id) {
                Ok(record) => {
                    inspection.problems.extend(missing(keys, &record, &guards));
                    inspection.records.push(record);
                }
                Err(problem) => {
                    let place = entry.key.clone();
                    inspection.problems.push(StoreProblem::unreadable(place, problem));
                }
            },
            Kind::Server(server) if entry.session.is_some() => {
                inspection.servers.push(format!("{:016x}", server.0));
            }
            Kind::Floor => inspection.problems.extend(floor(entry, found.index)),
            Kind::Settings => match settings(keys, entry) {
                Ok(record) => inspection.settings.push(Arc::new(record)),
                Err(problem) => {
                    let place = entry.key.clone();
                    inspection.problems.push(StoreProblem::unreadable(place, problem));
                }
            },
            Kind::Server(_) | Kind::Guard(_) | Kind::Change => {}
            Kind::Other if entry.key == keys.format() => {}
            Kind::Other => {
                inspection.problems.push(StoreProblem::unknown_key(entry.key.clone()));
            }
        }
    }
    inspection
}

fn record(entry: &KvEntry, id: &ServiceId) -> Result<StoreRecord, String> {
    let value = entry.value().ok_or_else(|| "its value is not Base64".to_owned())?;
    let value =
        Value::decode(&value).map_err(|error| format!("its value cannot be read: {error}"))?;
    if value.endpoint.id != *id {
        return Err(format!("its value is of another instance, {}", value.endpoint.id));
    }
    let Value { endpoint, owner, .. } = value.written_at(entry.modify_index);
    Ok(StoreRecord { endpoint, owner })
}

/// Reads the settings of the service that the key names.
fn settings(keys: &Keys, entry: &KvEntry) -> Result<SettingsRecord, String> {
    let record = decode(entry)?;
    match keys.settings(&record.key) == entry.key {
        true => Ok(record),
        false => Err(format!("its value has the settings of another service, {}", record.key)),
    }
}

fn guards_in(keys: &Keys, found: &KvList) -> BTreeSet<Guard> {
    let kinds = found.entries.iter().map(|entry| keys.parse(&entry.key));
    let guards = kinds.filter_map(|kind| match kind {
        Kind::Guard(guard) => Some(guard),
        _ => None,
    });
    guards.collect()
}

/// The guards of a record that are not there: running servers still expect them.
fn missing(keys: &Keys, record: &StoreRecord, present: &BTreeSet<Guard>) -> Vec<StoreProblem> {
    if record.endpoint.source == Source::Consul {
        // Nothing is registered at the address, so nothing excludes it.
        return Vec::new();
    }
    let guards = guards(&record.endpoint, &record.owner).into_iter();
    let missing = guards.filter(|guard| !present.contains(guard));
    let problem = |guard: Guard| {
        StoreProblem::damage(
            keys.guard(guard),
            format!("it is missing, although {} is registered", record.endpoint.id),
            "restart the servers, which reject registrations at its address until then",
        )
    };
    missing.map(problem).collect()
}

/// What is wrong with the floor: that it is no index of Consul's log.
fn floor(entry: &KvEntry, newest: u64) -> Option<StoreProblem> {
    let problem = match Floor::parse(entry) {
        Some(value) if value <= newest => return None,
        Some(value) => format!("it is {value}, and the newest index of Consul is {newest}"),
        None => "its value is not a number".to_owned(),
    };
    let remedy = "delete it; until then servers may read everything again each second";
    Some(StoreProblem::damage(entry.key.clone(), problem, remedy))
}

fn failed(fault: StoreFault) -> InspectError {
    fault.into_inspect_error(NAME)
}
