//! Reads the keys of a registry in Consul, without a session and without writing.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use portolan_consul::{ConsulClient, KvEntry, KvList};
use portolan_core::{Remedy, ServiceId};

use super::fault::StoreFault;
use super::keys::{Keys, Kind};
use super::record::Value;
use super::{FORMAT, NAME};
use crate::RegistryConfig;
use crate::store::inspect::{InspectError, Inspection, StoreProblem};
use crate::store::record::StoreRecord;
use crate::store::remote::{LAST, revision};

/// How a value that cannot be read is dealt with.
const IGNORED: &str = "servers ignore it until its service registers again";
const IGNORED_KEY: &str = "servers ignore it; delete it if it is not of a newer version";

pub(super) fn inspect(config: &RegistryConfig) -> BoxFuture<'_, Result<Inspection, InspectError>> {
    async move {
        let consul = &config.consul;
        let client =
            ConsulClient::new(&consul.options()?).map_err(|error| failed(&error.into()))?;
        let keys = Keys::new(&consul.prefix);
        let found = read(&client, &keys).await.map_err(|fault| failed(&fault))?;
        let location = format!("{} in {}", consul.prefix, consul.url);
        Ok(inspection(&keys, location, &found))
    }
    .boxed()
}

/// Reads every key. A prefix without any is an empty registry.
async fn read(client: &ConsulClient, keys: &Keys) -> Result<KvList, StoreFault> {
    let found = client.list(&keys.all(), 0, Duration::ZERO).await?;
    let format = found.entries.iter().find(|entry| entry.key == keys.format());
    let prefix = || keys.prefix().to_owned();
    let short = |text: &str| text.chars().take(200).collect();
    match (format.map(|format| format.value().unwrap_or_default()), found.entries.first()) {
        (Some(format), _) if format != FORMAT.as_bytes() => {
            let found = short(&String::from_utf8_lossy(&format));
            Err(StoreFault::OtherFormat { prefix: prefix(), found })
        }
        (None, Some(foreign)) => {
            Err(StoreFault::ForeignPrefix { prefix: prefix(), key: short(&foreign.key) })
        }
        _ => Ok(found),
    }
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
                Err(problem) => inspection.problems.push(damage(&entry.key, problem, IGNORED)),
            },
            Kind::Server(server) if entry.session.is_some() => {
                inspection.servers.push(format!("{:016x}", server.0));
            }
            Kind::Server(_) | Kind::Guard(_) | Kind::Change | Kind::Floor => {}
            Kind::Other if entry.key == keys.format() => {}
            Kind::Other => inspection.problems.push(StoreProblem {
                is_damage: false,
                ..damage(&entry.key, "this version does not know the key".to_owned(), IGNORED_KEY)
            }),
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

fn damage(key: &str, problem: String, remedy: &str) -> StoreProblem {
    StoreProblem { is_damage: true, place: key.to_owned(), problem, remedy: remedy.to_owned() }
}

fn failed(fault: &StoreFault) -> InspectError {
    let (store, reason) = (NAME, fault.to_string());
    let remedy = fault.remedy().map(Into::into);
    match fault {
        StoreFault::Consul(error) if error.is_unreachable() => {
            InspectError::Unreachable { store, reason, remedy }
        }
        _ => InspectError::Unusable { store, reason, remedy },
    }
}
