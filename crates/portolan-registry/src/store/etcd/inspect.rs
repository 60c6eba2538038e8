//! Reads the keys of a registry in etcd, without a membership and without writing.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use portolan_core::ServiceId;
use portolan_etcd::{EtcdClient, KeyValue};

use super::fault::StoreFault;
use super::keys::{Keys, Watched};
use super::pages::read_all;
use super::plan::index;
use super::record::{Value, revision};
use super::settings::decode;

use super::NAME;
use crate::store::inspect::{InspectError, Inspection, StoreProblem};
use crate::store::record::StoreRecord;
use crate::store::remote::LAST;
use crate::{RegistryConfig, SettingsRecord};

pub(super) fn inspect(config: &RegistryConfig) -> BoxFuture<'_, Result<Inspection, InspectError>> {
    async move {
        let etcd = &config.etcd;
        let client = EtcdClient::new(etcd.options()?).map_err(|error| failed(error.into()))?;
        let keys = Keys::new(&etcd.prefix);
        let found = read(&client, &keys).await.map_err(failed)?;
        let location = format!("{} in {}", etcd.prefix, etcd.endpoints.join(","));
        Ok(inspection(&keys, location, &found))
    }
    .boxed()
}

/// Every key of the registry, at one revision of etcd.
struct Found {
    keys: Vec<KeyValue>,
    revision: i64,
}

/// Reads every key. A prefix without any is an empty registry.
async fn read(client: &EtcdClient, keys: &Keys) -> Result<Found, StoreFault> {
    let (all, at) = read_all(client, keys.all()).await?;
    let format = all.iter().find(|kv| kv.key == keys.format().as_bytes());
    let format = format.map(|kv| kv.value.as_slice());
    let other = all.first().map(|kv| kv.key.as_slice());
    StoreFault::check_prefix(NAME, keys.prefix(), format, other)?;
    Ok(Found { keys: all, revision: at.revision })
}

fn inspection(keys: &Keys, location: String, found: &Found) -> Inspection {
    let mut inspection = Inspection {
        store: NAME,
        location,
        revision: revision(found.revision, LAST),
        records: Vec::new(),
        settings: Vec::new(),
        servers: Vec::new(),
        problems: Vec::new(),
    };
    let present: BTreeSet<&[u8]> = found.keys.iter().map(|kv| kv.key.as_slice()).collect();
    for kv in &found.keys {
        if keys.is_settings(&kv.key) {
            match decode(kv).and_then(|record| placed(keys, record, &kv.key)) {
                Ok(record) => inspection.settings.push(Arc::new(record)),
                Err(problem) => {
                    let remedy = "set them again after the key is deleted";
                    let problem = StoreProblem::damage(text(&kv.key), problem, remedy);
                    inspection.problems.push(problem);
                }
            }
            continue;
        }
        match keys.parse(&kv.key) {
            Watched::Endpoint(id) => match record(kv, &id) {
                Ok(record) => {
                    inspection.problems.extend(missing(keys, &record, &present));
                    inspection.records.push(record);
                }
                Err(problem) => {
                    inspection.problems.push(StoreProblem::unreadable(text(&kv.key), problem));
                }
            },
            Watched::Server(server) => inspection.servers.push(format!("{:016x}", server.0)),
            Watched::Deregistered => {}
            Watched::Other if keys.is_known(&kv.key) => {}
            Watched::Other => {
                inspection.problems.push(StoreProblem::unknown_key(text(&kv.key)));
            }
        }
    }
    inspection
}

/// Checks that settings are those of the service that their key names.
fn placed(keys: &Keys, record: SettingsRecord, key: &[u8]) -> Result<SettingsRecord, String> {
    match keys.settings(&record.key).as_bytes() == key {
        true => Ok(record),
        false => Err(format!("its value has the settings of another service, {}", record.key)),
    }
}

fn record(kv: &KeyValue, id: &ServiceId) -> Result<StoreRecord, String> {
    let value = Value::decode(&kv.value, kv.mod_revision)
        .map_err(|error| format!("its value cannot be read: {error}"))?;
    if value.endpoint.id != *id {
        return Err(format!("its value is of another instance, {}", value.endpoint.id));
    }
    if kv.lease == 0 {
        return Err("it has no lease, so that it would never end".to_owned());
    }
    let owner = value.owner();
    Ok(StoreRecord { endpoint: value.endpoint, owner })
}

/// The index keys of a record that are not there: without them registrations at its address do not exclude
/// each other.
fn missing(keys: &Keys, record: &StoreRecord, present: &BTreeSet<&[u8]>) -> Vec<StoreProblem> {
    let missing = index(keys, &record.endpoint, &record.owner).into_iter();
    let missing = missing.filter(|key| !present.contains(key.as_bytes()));
    let problem = |key: String| {
        StoreProblem::damage(
            key,
            format!("it is missing, although {} is registered", record.endpoint.id),
            "deregister the instance; its service registers again",
        )
    };
    missing.map(problem).collect()
}

fn text(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

fn failed(fault: StoreFault) -> InspectError {
    fault.into_inspect_error(NAME)
}
