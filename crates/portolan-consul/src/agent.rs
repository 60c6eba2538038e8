//! The services of the agent itself, with checks by TTL.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::client::Call;
use crate::{ConsulClient, ConsulError};

/// The oldest version that this client works with.
const OLDEST: (u64, u64) = (1, 8);

/// The agent that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsulAgent {
    /// The name of its node.
    pub node: String,
    /// Its datacenter.
    pub datacenter: String,
    /// Its version, such as `1.8.7`.
    pub version: String,
    /// The address at which the other agents reach it.
    pub address: String,
}

/// A service at the agent, with a check by TTL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsulRegistration {
    /// The id, unique at the agent.
    pub id: String,
    /// The name.
    pub name: String,
    /// The address.
    pub address: String,
    /// The port.
    pub port: u16,
    /// Tags.
    pub tags: Vec<String>,
    /// Metadata: at most 64 entries, keys of at most 128 bytes, values of at most 512.
    pub meta: BTreeMap<String, String>,
    /// How long the status lasts. After it the check is critical.
    pub ttl: Duration,
    /// How long the check may be critical until the agent deregisters the service; a minute at least.
    pub deregister_after: Duration,
    /// The status at first.
    pub status: ConsulCheckStatus,
}

/// The status of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConsulCheckStatus {
    /// Healthy.
    Passing,
    /// Still used.
    Warning,
    /// Not used.
    Critical,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Own {
    config: OwnConfig,
    #[serde(default)]
    member: Option<OwnMember>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OwnMember {
    #[serde(default)]
    addr: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OwnConfig {
    node_name: String,
    datacenter: String,
    version: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Register<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    name: &'a str,
    address: &'a str,
    port: u16,
    tags: &'a [String],
    meta: &'a BTreeMap<String, String>,
    check: TtlCheck,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TtlCheck {
    #[serde(rename = "CheckID")]
    check_id: String,
    name: &'static str,
    #[serde(rename = "TTL")]
    ttl: String,
    deregister_critical_service_after: String,
    status: ConsulCheckStatus,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Update<'a> {
    status: ConsulCheckStatus,
    output: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    #[serde(default)]
    meta: Option<BTreeMap<String, String>>,
}

// === impl ConsulAgent ===

impl ConsulAgent {
    /// Whether it is alone: other machines cannot reach it.
    pub fn is_on_loopback(&self) -> bool {
        self.address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

// === impl ConsulClient ===

impl ConsulClient {
    /// Returns the agent, if its version is one that this client works with.
    ///
    /// # Errors
    ///
    /// [`ConsulError::TooOld`], [`ConsulError::NotConsul`], or if it does not answer or denies the access.
    pub async fn agent(&self) -> Result<ConsulAgent, ConsulError> {
        let answer = self.send(Call::get("agent/self")).await?;
        let Own { config: OwnConfig { node_name, datacenter, version }, member } = answer.json()?;
        let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
        let number = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if number < OLDEST {
            return Err(answer.too_old(version));
        }
        let address = member.map(|member| member.addr).unwrap_or_default();
        Ok(ConsulAgent { node: node_name, datacenter, version, address })
    }

    /// Registers a service at the agent, or replaces it.
    ///
    /// # Errors
    ///
    /// If the agent does not answer, denies the access, or rejects the service.
    pub async fn register_service(&self, service: &ConsulRegistration) -> Result<(), ConsulError> {
        let check = TtlCheck {
            check_id: check_id(&service.id),
            name: "Portolan",
            ttl: format!("{}ms", service.ttl.as_millis()),
            deregister_critical_service_after: format!("{}s", service.deregister_after.as_secs()),
            status: service.status,
        };
        let ConsulRegistration { id, name, address, port, tags, meta, .. } = service;
        let body = Register { id, name, address, port: *port, tags, meta, check };
        let call = Call::put("agent/service/register").query("replace-existing-checks", "true");
        self.send(call.json(&body)).await?.done()
    }

    /// Gives the check of a service a status, and its full TTL. Returns `false` if the agent has no such service.
    ///
    /// # Errors
    ///
    /// If the agent does not answer or denies the access.
    pub async fn update_check(
        &self,
        service: &str,
        status: ConsulCheckStatus,
        output: &str,
    ) -> Result<bool, ConsulError> {
        let path = format!("agent/check/update/{}", check_id(service));
        match self.send(Call::put(path).json(&Update { status, output })).await {
            Ok(answer) if answer.status == StatusCode::NOT_FOUND => Ok(false),
            Ok(answer) => answer.done().map(|()| true),
            // What the agent says of a check that it does not have.
            Err(ConsulError::Failed { reason, .. }) if reason.contains("associated TTL") => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Removes a service of the agent, if it has it.
    ///
    /// # Errors
    ///
    /// If the agent does not answer or denies the access.
    pub async fn deregister_service(&self, service: &str) -> Result<(), ConsulError> {
        let path = format!("agent/service/deregister/{service}");
        match self.send(Call::put(path)).await {
            Ok(answer) if answer.status == StatusCode::NOT_FOUND => Ok(()),
            Ok(answer) => answer.done(),
            // As newer versions say it.
            Err(ConsulError::Failed { reason, .. }) if reason.contains("Unknown service") => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Returns the ids of the agent's services with their metadata.
    ///
    /// # Errors
    ///
    /// If the agent does not answer or denies the access.
    pub async fn agent_services(
        &self,
    ) -> Result<BTreeMap<String, BTreeMap<String, String>>, ConsulError> {
        let answer = self.send(Call::get("agent/services")).await?;
        let listed: BTreeMap<String, Listed> = answer.json()?;
        Ok(listed.into_iter().map(|(id, it)| (id, it.meta.unwrap_or_default())).collect())
    }
}

fn check_id(service: &str) -> String {
    format!("service:{service}")
}
