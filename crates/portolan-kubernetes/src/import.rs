//! `portolan kubernetes import`: the ready endpoints of the cluster's Services as instances in a registry.

mod registrar;

use std::time::Duration;

use clap::Args;
use futures_util::StreamExt as _;
use portolan_client::RegistryClient;
use portolan_client::environment::ClientEnvironment;
use portolan_core::{Ttl, parse_duration};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};
use tracing::info;

use crate::changes::SourceChange;
use crate::cluster::{Cluster, ClusterName, ClusterOptions};
use crate::exit::{Exit, Failure};
use crate::follow::{Sources, follow};
use crate::instances::Naming;
use crate::view::View;
use crate::{cli, shutdown};

use registrar::Registrar;

pub(crate) const AFTER_HELP: &str = "\
Each Service is a service of its name in the scope of its namespace: Service web of namespace shop is found by `portolan --scope shop \
discover web`, and from every scope as web.shop, web.shop.svc and web.shop.svc.cluster.local. The other ports are in the metadata, as \
port.NAME. Services and slices that Portolan has written are left out.

What was registered stays until its lease ends (--ttl), so that the restart of this program changes nothing. Several may run at once.";

/// How many changes of the cluster are handled together at most.
const TOGETHER: usize = 4_096;

/// Options of `portolan kubernetes import`.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Namespace to read; repeatable [default: all]
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Vec<String>,
    /// Only Services with these labels, such as team=shop
    #[arg(long, value_name = "SELECTOR", default_value = "", hide_default_value = true)]
    selector: String,
    /// What precedes the namespace in the name of the scope, such as prod-
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    scope_prefix: String,
    /// Lease of each instance
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_ttl)]
    ttl: Ttl,
    #[command(flatten)]
    cluster: ClusterOptions,
    #[command(flatten)]
    cluster_name: ClusterName,
}

// === impl Import ===

impl Import {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let mut stop = shutdown::signals()?;
        let registry = registry()?;
        let cluster = self.cluster.open().await?;
        let naming = Naming {
            cluster: self.cluster_name.cluster,
            scope_prefix: self.scope_prefix,
            ttl: self.ttl,
        };
        if naming.scope("a").is_none() {
            return Err(Failure::usage("--scope-prefix: it is not the beginning of a scope"));
        }
        info!(cluster = %cluster.url, registry = registry.urls(), "Following the Services of the cluster");
        let sources = Sources {
            namespaces: self.namespace,
            selector: self.selector,
            slice_selector: String::new(),
        };
        let registrar = Registrar::new(registry, naming.clone(), sources.namespaces.clone());
        let mut bridge = Bridge { naming, view: View::default(), registrar };
        tokio::select! {
            result = bridge.run(cluster, sources, self.ttl.duration()) => result,
            () = stop.wait() => Ok(Exit::Done),
        }
    }
}

/// Returns the client of the registry in the environment.
pub(crate) fn registry() -> Result<RegistryClient, Failure> {
    let environment = ClientEnvironment::read().map_err(Failure::usage)?;
    let config =
        portolan_client::RegistryClientConfig { tls: cli::registry_tls(), ..environment.registry };
    Ok(RegistryClient::new(config)?)
}

/// The state of the cluster, and what of it is registered.
struct Bridge {
    naming: Naming,
    view: View,
    registrar: Registrar,
}

// === impl Bridge ===

impl Bridge {
    /// Carries changes to the registry. Never ends by itself.
    async fn run(
        &mut self,
        cluster: Cluster,
        sources: Sources,
        ttl: Duration,
    ) -> Result<Exit, Failure> {
        let changes = follow(cluster, sources).ready_chunks(TOGETHER);
        let mut changes = std::pin::pin!(changes);
        // Three heartbeats in a TTL, as agents send them.
        let period = ttl / 3;
        let mut heartbeat = interval_at(Instant::now() + period, period);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let retry = self.registrar.next_attempt();
            tokio::select! {
                changes = changes.next() => match changes {
                    Some(changes) => self.apply(changes),
                    None => return Err(Failure::failed("the watches of the cluster have ended")),
                },
                _ = heartbeat.tick() => self.registrar.renew().await,
                () = sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => {}
            }
            self.registrar.flush().await;
        }
    }

    fn apply(&mut self, changes: Vec<SourceChange>) {
        for change in changes {
            let touched = self.view.apply(change);
            for service in touched.services {
                let known = self.view.service(&service);
                let instances = |known| self.naming.instances(known, self.view.slices(&service));
                let instances = known.map(instances).unwrap_or_default();
                self.registrar.set(&service, instances);
            }
            if let Some(source) = touched.listed {
                self.registrar.listed(source.as_deref());
            }
        }
    }
}

pub(crate) fn parse_ttl(text: &str) -> Result<Ttl, String> {
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    Ttl::new(duration).map_err(|error| error.to_string())
}
