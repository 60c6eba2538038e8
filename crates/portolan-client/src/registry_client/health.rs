//! The bodies of health reports, and of the results of checks.

use std::collections::{BTreeMap, BTreeSet};

use portolan_core::{CheckResults, HealthReport, ServiceId};
use serde::{Deserialize, Serialize};

/// The health of an instance, with the last results of its checks.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct InstanceHealth {
    /// The status and its reason.
    #[serde(flatten)]
    pub report: HealthReport,
    /// Who checks it: `agent` or `registry`; `None` if nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_by: Option<String>,
    /// Whether it has sent no heartbeat for half of its TTL or longer. Never with the stores `etcd` and `consul`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub heartbeat_late: bool,
    /// The results, if the server knows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<CheckResults>,
}

#[derive(Serialize)]
pub(super) struct HeartbeatBody<'a> {
    pub(super) checks: &'a CheckResults,
}

#[derive(Serialize)]
pub(super) struct HealthBody<'a> {
    #[serde(flatten)]
    pub(super) report: &'a HealthReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) checks: Option<&'a CheckResults>,
}

/// What a server knows about the checks of instances, and of their heartbeats.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct LastChecks {
    /// The results by instance.
    #[serde(rename = "checks")]
    pub results: BTreeMap<ServiceId, CheckResults>,
    /// The instances that have sent no heartbeat for half of their TTL or longer. None with the stores `etcd` and `consul`.
    #[serde(default)]
    pub heartbeat_late: BTreeSet<ServiceId>,
}
