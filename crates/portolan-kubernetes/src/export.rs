//! `portolan kubernetes export`: services of a registry as Services and endpoint slices of a cluster.

mod content;
mod exporter;
mod instances;
mod lease;
mod offer;
mod orphans;
mod plan;
mod ports;
mod problem;
mod reconcile;
mod slices;
mod write;

use std::collections::HashMap;
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt as _;
use kube::Api;
use portolan_client::environment::ClientEnvironment;
use portolan_client::registry_client::ReconnectingWatch;
use portolan_client::{RegistryClient, RegistryClientError, WatchRequest};
use portolan_core::{Incarnation, IpNetwork, Remedy as _, Scope, ServiceName, parse_duration};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tracing::{info, warn};

use crate::bridge::registry;
use crate::changes::SourceChange;
use crate::cluster::{Cluster, ClusterOptions};
use crate::exit::{Exit, Failure};
use crate::follow::{Sources, follow, version_of_slices};
use crate::objects::{PORTOLAN, SLICE_MANAGED_BY};
use crate::shutdown::{self, ShutdownSignals};

use exporter::Exporter;
use lease::ExporterLease;
use plan::Writer;
use ports::is_label;
use reconcile::Objects;

pub(crate) const AFTER_HELP: &str = "\
Each service of the scope becomes a Service without selector in the namespace, with slices of the addresses of its instances, so that pods reach \
it by its cluster name. Its port is metadata kubernetes.port, else 80 for http and 443 for https, else that of the first instance. Instances whose \
addresses pods cannot reach, such as 127.0.0.1, and those that were imported from a cluster are left out.

Objects have the label portolan/exporter; others of the same name are not touched. When this program ends they stay, and go once its Lease has \
ended and another exporter of the namespace runs. Of several with one --name, one exports.";

/// How many changes are handled together at most.
const TOGETHER: usize = 4_096;
/// How long after a registry that has just started is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// How long the end waits for the API server.
const END: Duration = Duration::from_secs(10);

/// Options of `portolan kubernetes export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Service to export; repeatable [default: every one of the scope]
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,
    /// Scope whose services are exported [default: that of portolan --scope and its settings]
    #[arg(long, value_name = "SCOPE")]
    scope: Option<Scope>,
    /// Namespace that gets the Services [default: that of the credentials]
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Name of this exporter; exporters into one namespace have different ones, replicas the same [default: the scope]
    #[arg(long, value_name = "NAME", value_parser = parse_label)]
    name: Option<String>,
    /// Only addresses in these networks, such as 10.0.0.0/8; repeatable [default: all that are not loopback or link-local]
    #[arg(long, value_name = "NETWORK")]
    network: Vec<IpNetwork>,
    /// Services without an address of their own: their names lead to the addresses and ports of the instances
    #[arg(long)]
    headless: bool,
    /// Lease of the exporter: what it has written is kept so long without it
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = parse_lease)]
    lease: Duration,
    /// How long a Service stays without any instance, so that its address is the same if one returns
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_keep)]
    keep: Duration,
    /// Delete everything that was exported when this program ends
    #[arg(long)]
    remove_on_exit: bool,
    #[command(flatten)]
    cluster: ClusterOptions,
}

/// Both watches.
struct Watches<C> {
    cluster: C,
    registry: ReconnectingWatch,
    /// What the watch of the registry has last failed with.
    failure: Option<RegistryClientError>,
}

// === impl Export ===

impl Export {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let mut stop = shutdown::signals()?;
        let registry = registry()?;
        let scope = self.scope()?;
        let name = match &self.name {
            Some(name) => name.clone(),
            None => parse_label(scope.as_str())
                .map_err(|error| Failure::usage(format_args!("--name is needed: {error}")))?,
        };
        let cluster = self.cluster.open().await?;
        let namespace = self.namespace.clone().unwrap_or_else(|| cluster.namespace.clone());
        info!(cluster = %cluster.url, registry = registry.urls(), %scope, namespace, name, "Exporting services");
        let mut exporter = tokio::select! {
            exporter = self.exporter(&cluster, &namespace, name) => exporter,
            () = stop.wait() => return Ok(Exit::Done),
        };
        let sources = Sources {
            namespaces: vec![namespace],
            selector: String::new(),
            slice_selector: format!("{SLICE_MANAGED_BY}={PORTOLAN}"),
        };
        let request = WatchRequest { names: self.services, scopes: vec![scope], from: None };
        let mut watches = Watches {
            cluster: std::pin::pin!(follow(&cluster, &sources).ready_chunks(TOGETHER)),
            registry: registry.watch_reconnecting(request.clone()),
            failure: None,
        };
        let renewal = self.lease / 3;
        let result =
            run(&mut exporter, &mut watches, (&registry, &request), renewal, &mut stop).await;
        let end = async {
            if self.remove_on_exit && exporter.lease.is_held() {
                exporter.remove_everything().await;
                exporter.lease.delete().await
            } else {
                exporter.lease.release().await
            }
        };
        if !matches!(timeout(END, end).await, Ok(Ok(()))) {
            warn!("The API server does not answer, the Lease ends by itself");
        }
        result
    }

    fn scope(&self) -> Result<Scope, Failure> {
        let environment = ClientEnvironment::read().map_err(Failure::usage)?;
        Ok(self.scope.clone().or(environment.scope).unwrap_or_default())
    }

    /// Waits until the API server says which version of slices it has.
    async fn exporter(&self, cluster: &Cluster, namespace: &str, name: String) -> Exporter {
        let resource = version_of_slices(cluster).await;
        let client = cluster.client.clone();
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let identity = format!("{}_{}", host.trim(), Incarnation::random());
        let leases = Api::namespaced(client.clone(), namespace);
        let lease = ExporterLease::new(leases, &name, identity, self.lease);
        let objects = Objects {
            services: Api::namespaced(client.clone(), namespace),
            slices: Api::namespaced_with(client.clone(), namespace, &resource),
            client,
            version: resource.api_version,
            namespace: namespace.to_owned(),
            writer: Writer { name, headless: self.headless },
            written: HashMap::new(),
        };
        Exporter::new(objects, lease, self.network.clone(), self.keep)
    }
}

/// Carries changes until a signal comes, or until the registry refuses for good.
async fn run(
    exporter: &mut Exporter,
    watches: &mut Watches<impl futures_util::Stream<Item = Vec<SourceChange>> + Unpin>,
    (registry, request): (&RegistryClient, &WatchRequest),
    renewal: Duration,
    stop: &mut ShutdownSignals,
) -> Result<Exit, Failure> {
    let mut renewals = interval(renewal);
    renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ask_again: Option<Instant> = None;
    loop {
        let next = exporter.next_attempt().into_iter().chain(ask_again).min();
        tokio::select! {
            changes = watches.cluster.next() => match changes {
                Some(changes) => changes.into_iter().for_each(|it| exporter.apply_cluster(it)),
                None => return Err(Failure::failed("the watches of the cluster have ended")),
            },
            event = watches.registry.next() => match event {
                Some(Ok(event)) => {
                    if watches.failure.take().is_some() {
                        info!(registry = registry.url(), "Registry answers again");
                    }
                    exporter.apply_instances(event.change);
                }
                Some(Err(error)) => watches.failed(error),
                None => return Err(watches.ended()),
            },
            _ = renewals.tick() => exporter.renew().await,
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            () = stop.wait() => return Ok(Exit::Done),
        }
        let is_due = ask_again.is_some_and(|at| at <= Instant::now());
        if is_due {
            watches.registry = registry.watch_reconnecting(request.clone());
        }
        if !exporter.instances.is_partial() {
            ask_again = None;
        } else if is_due || ask_again.is_none() {
            ask_again = Some(Instant::now() + ASK_AGAIN);
        }
        exporter.flush().await;
    }
}

// === impl Watches ===

impl<C> Watches<C> {
    fn failed(&mut self, error: RegistryClientError) {
        if self.failure.is_none() {
            let remedy = error.remedy().unwrap_or_default();
            warn!(%error, %remedy, "Registry unreachable, what was exported stays");
        }
        self.failure = Some(error);
    }

    fn ended(&mut self) -> Failure {
        match self.failure.take() {
            Some(error) => error.into(),
            None => Failure::failed("the watch of the registry has ended"),
        }
    }
}

fn parse_label(text: &str) -> Result<String, String> {
    if is_label(text) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{text:?} is not a DNS label, expected at most 63 lower-case letters, digits and hyphens"
    ))
}

fn parse_lease(text: &str) -> Result<Duration, String> {
    let duration = parse_keep(text)?;
    match duration.subsec_nanos() {
        0 if (3..=3600).contains(&duration.as_secs()) => Ok(duration),
        _ => Err("expected whole seconds from 3s to 1h".to_owned()),
    }
}

fn parse_keep(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}
