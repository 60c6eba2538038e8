//! `portolan kubernetes discover`: the ready endpoints of one Service, asked once.

use std::io::{self, Write};

use clap::Args;
use jiff::Timestamp;
use kube::Api;
use kube::api::ListParams;
use portolan_core::{KubernetesName, ServiceEndpoint, ServiceName, Source, Ttl};

use crate::cluster::{Cluster, ClusterName, ClusterOptions};
use crate::exit::{Exit, Failure};
use crate::instances::Naming;
use crate::objects::{EndpointSlice, SERVICE_NAME, Service};

/// Options of `portolan kubernetes discover`.
#[derive(Debug, Args)]
pub(crate) struct Discover {
    /// Service: web, web.shop, web.shop.svc or web.shop.svc.cluster.local
    name: ServiceName,
    /// Namespace of a name that has none [default: that of the credentials]
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Option<String>,
    #[command(flatten)]
    cluster: ClusterOptions,
    #[command(flatten)]
    cluster_name: ClusterName,
}

// === impl Discover ===

impl Discover {
    pub(crate) async fn run(self, json: bool) -> Result<Exit, Failure> {
        let name = KubernetesName::parse(&self.name).ok_or_else(|| {
            Failure::usage(format_args!("no Service can be called {}", self.name))
        })?;
        let cluster = self.cluster.open().await?;
        let namespace = name.namespace.as_ref().map(ToString::to_string);
        let namespace = namespace.or(self.namespace).unwrap_or_else(|| cluster.namespace.clone());
        let naming = Naming {
            cluster: self.cluster_name.cluster,
            scope_prefix: String::new(),
            ttl: Ttl::DEFAULT,
        };
        let found = find(&cluster, &naming, name.service.as_str(), &namespace).await?;
        print(&found, json)
            .map_err(|error| Failure::failed(format_args!("cannot print: {error}")))?;
        if found.is_empty() {
            let service = name.service;
            let message = format!("no ready endpoint of {service} in the namespace {namespace}");
            return Err(Failure::new(Exit::NotFound, message));
        }
        Ok(Exit::Done)
    }
}

async fn find(
    cluster: &Cluster,
    naming: &Naming,
    name: &str,
    namespace: &str,
) -> Result<Vec<ServiceEndpoint>, kube::Error> {
    let services: Api<Service> = Api::namespaced(cluster.client.clone(), namespace);
    let resource = cluster.endpoint_slices();
    let (service, resource) = tokio::try_join!(services.get_opt(name), resource)?;
    let (Some(service), Some(resource)) = (service, resource) else { return Ok(Vec::new()) };
    let slices: Api<EndpointSlice> =
        Api::namespaced_with(cluster.client.clone(), namespace, &resource);
    let of_service = ListParams::default().labels(&format!("{SERVICE_NAME}={name}"));
    let slices = slices.list(&of_service).await?.items;
    let now = Timestamp::now();
    let instances = naming.instances(&service, slices.iter()).into_values();
    Ok(instances
        .map(|instance| {
            let endpoint = instance.into_endpoint(Ttl::DEFAULT, now);
            ServiceEndpoint { source: Source::Registered, ..endpoint }
        })
        .collect())
}

fn print(found: &[ServiceEndpoint], json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, found)?;
        return writeln!(out);
    }
    found.iter().try_for_each(|endpoint| writeln!(out, "{}", endpoint.address()))
}
