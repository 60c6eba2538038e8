//! The catalogue: the services of all agents, with their checks.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::client::Call;
use crate::{ConsulCheckStatus, ConsulClient, ConsulError};

/// The names of all services.
#[derive(Debug, Clone, PartialEq)]
pub struct ConsulServiceNames {
    /// The index of the last change to a service, from which the next call waits.
    pub index: u64,
    /// Each name, with the tags of its instances.
    pub names: BTreeMap<String, Vec<String>>,
}

/// An instance of a service.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConsulInstance {
    /// Its node.
    pub node: ConsulNode,
    /// What is registered.
    pub service: ConsulService,
    /// The checks of the instance and of its node.
    #[serde(default)]
    pub checks: Vec<ConsulCheck>,
}

/// A node of Consul.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConsulNode {
    /// Its name.
    pub node: String,
    /// Its address.
    #[serde(default)]
    pub address: String,
}

/// What is registered of an instance.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConsulService {
    /// The id, unique at its node.
    #[serde(rename = "ID")]
    pub id: String,
    /// The name.
    pub service: String,
    /// The address; empty if it is that of the node.
    #[serde(default)]
    pub address: String,
    /// The port; 0 if it has none. Consul accepts any number.
    #[serde(default)]
    pub port: i64,
    /// Tags.
    #[serde(default)]
    pub tags: Option<Vec<String>>,
    /// Metadata.
    #[serde(default)]
    pub meta: Option<BTreeMap<String, String>>,
    /// The kind: empty for an ordinary service.
    #[serde(default)]
    pub kind: String,
}

/// A check.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConsulCheck {
    /// The node.
    #[serde(default)]
    pub node: String,
    /// The id, unique at the node.
    #[serde(default, rename = "CheckID")]
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its status; `None` if it is not one of the three.
    #[serde(default, deserialize_with = "status")]
    pub status: Option<ConsulCheckStatus>,
    /// What it says.
    #[serde(default)]
    pub output: String,
    /// The name of the service; empty if it is a check of the node.
    #[serde(default)]
    pub service_name: String,
    /// The tags of the service.
    #[serde(default)]
    pub service_tags: Option<Vec<String>>,
    /// The index of its last change.
    #[serde(default)]
    pub modify_index: u64,
}

// === impl ConsulClient ===

impl ConsulClient {
    /// Returns the names of all services. With an index other than 0 it waits until any has changed since, or for
    /// `wait`.
    ///
    /// # Errors
    ///
    /// If Consul does not answer or denies the access.
    pub async fn service_names(
        &self,
        index: u64,
        wait: Duration,
    ) -> Result<ConsulServiceNames, ConsulError> {
        let answer = self.send(Call::get("catalog/services").wait(index, wait)).await?;
        Ok(ConsulServiceNames { index: answer.index()?, names: answer.json()? })
    }

    /// Returns all checks, with the index of the last change. With an index other than 0 it waits until any has
    /// changed since, or for `wait`.
    ///
    /// # Errors
    ///
    /// If Consul does not answer or denies the access.
    pub async fn checks(
        &self,
        index: u64,
        wait: Duration,
    ) -> Result<(u64, Vec<ConsulCheck>), ConsulError> {
        let answer = self.send(Call::get("health/state/any").wait(index, wait)).await?;
        Ok((answer.index()?, answer.json()?))
    }

    /// Returns the instances of a service, without those that have an entry of metadata.
    ///
    /// # Errors
    ///
    /// If Consul does not answer or denies the access.
    pub async fn instances(
        &self,
        name: &str,
        without: &str,
    ) -> Result<Vec<ConsulInstance>, ConsulError> {
        let filter = format!("{without:?} not in Service.Meta");
        let call = Call::get(format!("health/service/{name}")).query("filter", &filter);
        self.send(call).await?.json()
    }
}

fn status<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<ConsulCheckStatus>, D::Error> {
    Ok(match String::deserialize(deserializer)?.as_str() {
        "passing" => Some(ConsulCheckStatus::Passing),
        "warning" => Some(ConsulCheckStatus::Warning),
        "critical" => Some(ConsulCheckStatus::Critical),
        _ => None,
    })
}
