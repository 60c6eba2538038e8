//! `portolan list`: services with their address and health.

mod checks;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use portolan_broadcast::QueryMode;
use portolan_client::{LastChecks, ListQuery, Listing, RegistryClientError};
use portolan_core::duration::{format_duration, format_rounded};
use portolan_core::{
    CheckResults, DeclaredInstance, HealthStatus, ServiceEndpoint, ServiceId, ServiceName, Source,
    escaped_line, matches_any,
};
use serde::Serialize;

use crate::context::Context;
use crate::exit::{CommandResult, Exit, Failure};
use crate::output;

/// What people are told if the registry has just started.
pub(crate) const INCOMPLETE: &str = "the registry has just started: services that ran before may be missing until they have \
                          registered again, within a heartbeat interval";

/// What people are told if the registry serves other hosts without a token.
const OPEN_TO_NETWORK: &str = "the registry serves other hosts without a token, so that anyone there can change it: set \
                               PORTOLAN_TOKEN for it and its clients, or service_registry.listen_address to 127.0.0.1:7000";

/// What people are told if the registry has lost its store.
fn stale(view_age_ms: u64) -> String {
    let age = format_rounded(Duration::from_millis(view_age_ms));
    format!(
        "the registry has lost its store, and shows what it knew {age} ago; its /readyz says why"
    )
}

/// Options of `portolan list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only instances of this service
    name: Option<ServiceName>,
    /// Only instances with one of these health statuses, as in passing,warning,unknown: everything but critical
    #[arg(long, value_delimiter = ',')]
    health: Vec<HealthStatus>,
    /// The last results of the health checks, their latency and counts, and late heartbeats
    #[arg(long)]
    checks: bool,
    /// All scopes, not only this one and "default"
    #[arg(long)]
    all_scopes: bool,
}

impl List {
    pub(crate) async fn run(self, context: &Context) -> CommandResult {
        let query = ListQuery {
            name: self.name.clone(),
            health: self.health,
            scopes: if self.all_scopes { Vec::new() } else { context.scope.lookup_order() },
            ..ListQuery::default()
        };
        let Found { mut shown, unreachable } = find(context, &query).await?;
        shown.services.sort_by(|a, b| (&a.name, &a.scope, &a.id).cmp(&(&b.name, &b.scope, &b.id)));
        if self.checks && unreachable.is_none() {
            let LastChecks { results, heartbeat_late } =
                context.registry()?.checks(self.name.as_ref()).await?;
            (shown.checks, shown.heartbeat_late) = (Some(results), heartbeat_late);
        }
        let says_nothing = unreachable.is_some() && shown.services.is_empty();
        if context.json {
            output::json(&shown)?;
        } else if !says_nothing {
            shown.print()?;
            if shown.incomplete && !context.quiet {
                output::note(INCOMPLETE);
            }
        }
        if shown.open_to_network && !context.quiet {
            output::warning(OPEN_TO_NETWORK);
        }
        if shown.stale {
            output::warning(format_args!("{}", stale(shown.view_age_ms)));
        }
        // Unknown is not empty: services may be registered that do not answer by broadcast.
        match unreachable {
            Some(error) if shown.services.is_empty() || context.names_registry() => {
                Err(error.into())
            }
            _ => Ok(Exit::Done),
        }
    }
}

/// How long agents are waited for: a query is sent five times within it, and they answer within milliseconds.
const ALL_ANSWER: Duration = Duration::from_secs(2);

/// What is printed.
#[derive(Debug, Serialize)]
struct Shown {
    services: Vec<ServiceEndpoint>,
    /// The instances of the registry's stack that are not ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    declared: Vec<DeclaredInstance>,
    /// Whether instances may be missing, because the registry has just started.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    incomplete: bool,
    /// How long ago the registry was last known to show everything in its store.
    view_age_ms: u64,
    /// Whether that is longer than it may be.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stale: bool,
    /// Whether the registry serves other hosts without a token.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    open_to_network: bool,
    /// The last results of the health checks, by instance; only if they are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<BTreeMap<ServiceId, CheckResults>>,
    /// The instances whose heartbeat is late; only with the results of the checks.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    heartbeat_late: BTreeSet<ServiceId>,
}

/// What was found, and why the registry could not be asked if it was not.
struct Found {
    shown: Shown,
    unreachable: Option<RegistryClientError>,
}

/// Asks the registry, and if it cannot be reached, asks by broadcast.
async fn find(context: &Context, query: &ListQuery) -> Result<Found, Failure> {
    let unreachable = match context.registry()?.list(query).await {
        Ok(Listing {
            services, declared, incomplete, view_age_ms, stale, open_to_network, ..
        }) => {
            let shown = Shown {
                services,
                declared,
                incomplete,
                view_age_ms,
                stale,
                open_to_network,
                checks: None,
                heartbeat_late: BTreeSet::new(),
            };
            return Ok(Found { shown, unreachable: None });
        }
        Err(error @ RegistryClientError::Unreachable { .. }) if context.trusts_broadcast() => error,
        Err(error) => return Err(error.into()),
    };
    let Some(broadcaster) = context.broadcaster().await? else { return Err(unreachable.into()) };
    if !context.quiet {
        output::note(format_args!("{unreachable}; asking by broadcast instead"));
    }
    let wait = context.settings().discovery.timeouts.strategy("broadcast").min(ALL_ANSWER);
    let found = broadcaster.query(query.name.as_ref(), &query.scopes, wait, QueryMode::All).await;
    broadcaster.stop().await;
    let mut services = found?;
    services.retain(|service| matches_any(&query.health, &service.health));
    for service in &mut services {
        service.source = Source::Broadcast;
    }
    let declared = Vec::new();
    let (incomplete, stale, open_to_network) = (false, false, false);
    let shown = Shown {
        services,
        declared,
        incomplete,
        view_age_ms: 0,
        stale,
        open_to_network,
        checks: None,
        heartbeat_late: BTreeSet::new(),
    };
    Ok(Found { shown, unreachable: Some(unreachable) })
}

// === impl Shown ===

impl Shown {
    fn print(&self) -> Result<(), Failure> {
        if let Some(results) = &self.checks {
            return checks::print(&self.services, results, &self.heartbeat_late);
        }
        let mut table = output::table([
            "NAME", "ADDRESS", "PROTOCOL", "VERSION", "HEALTH", "SOURCE", "AGE", "SCOPE", "ID",
            "REASON",
        ]);
        let now = Timestamp::now();
        for service in &self.services {
            table.add_row([
                service.name.to_string(),
                service.address(),
                service.protocol.to_string(),
                escaped_line(&service.version).into_owned(),
                service.health.to_string(),
                service.source.to_string(),
                age(now, service.last_heartbeat),
                service.scope.to_string(),
                service.id.to_string(),
                escaped_line(&service.health_reason).into_owned(),
            ]);
        }
        // Without an address, a protocol and an id, because they are not registered.
        for instance in &self.declared {
            let absent = || "-".to_owned();
            table.add_row([
                instance.name.to_string(),
                absent(),
                absent(),
                String::new(),
                instance.state.to_string(),
                "stack".to_owned(),
                format_duration(instance.age(now)),
                instance.scope.to_string(),
                absent(),
                escaped_line(&instance.reason).into_owned(),
            ]);
        }
        output::line(table.trim_fmt())
    }
}

/// How long ago the last heartbeat was, in whole seconds; clocks may differ.
fn age(now: Timestamp, last_heartbeat: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(last_heartbeat.as_second());
    format_duration(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}
