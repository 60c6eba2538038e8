//! Reads the keys of a registry in Consul, without a session and without writing.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use portolan_consul::{ConsulClient, KvEntry, KvList};
use portolan_core::ServiceId;

use super::NAME;
use super::fault::StoreFault;
use super::keys::{Keys, Kind};
use super::record::Value;
use crate::RegistryConfig;
use crate::store::inspect::{InspectError, Inspection, StoreProblem};
use crate::store::record::StoreRecord;
use crate::store::remote::{LAST, revision};

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
        servers: Vec::new(),
        problems: Vec::new(),
    };
    for entry in &found.entries {
        match keys.parse(&entry.key) {
            Kind::Endpoint(id) => match record(entry, &id) {
                Ok(record) => inspection.records.push(record),
                Err(problem) => {
                    let place = entry.key.clone();
                    inspection.problems.push(StoreProblem::unreadable(place, problem));
                }
            },
            Kind::Server(server) if entry.session.is_some() => {
                inspection.servers.push(format!("{:016x}", server.0));
            }
            Kind::Server(_) | Kind::Guard(_) | Kind::Change | Kind::Floor => {}
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

fn failed(fault: StoreFault) -> InspectError {
    fault.into_inspect_error(NAME)
}
