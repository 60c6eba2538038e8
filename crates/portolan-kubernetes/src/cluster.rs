//! The cluster: its credentials, and the versions of its API.

use std::path::PathBuf;

use clap::Args;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::core::ApiResource;
use kube::{Client, Error};
use portolan_core::Scope;

use crate::exit::Failure;
use crate::objects::EndpointSlice;

/// Which cluster is used.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct ClusterOptions {
    /// File with the credentials [default: KUBECONFIG, else ~/.kube/config, else those of the pod]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the file [default: its current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// What the cluster is called in the registry.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct ClusterName {
    /// Name of the cluster in the registry; clusters of one registry have different names
    #[arg(
        long = "cluster",
        id = "cluster-name",
        value_name = "NAME",
        default_value = "kubernetes"
    )]
    pub(crate) cluster: Scope,
}

/// A cluster whose API server may not be reachable yet.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: Client,
    /// The namespace of the credentials.
    pub(crate) namespace: String,
    /// The URL of the API server.
    pub(crate) url: String,
}

// === impl ClusterOptions ===

impl ClusterOptions {
    /// Reads the credentials.
    pub(crate) async fn open(&self) -> Result<Cluster, Failure> {
        let config = self.config().await.map_err(|error| {
            Failure::usage(format_args!("no credentials of a cluster: {error}")).remedy(
                "set KUBECONFIG or --kubeconfig, or run this in a pod with a service account",
            )
        })?;
        let (namespace, url) = (config.default_namespace.clone(), config.cluster_url.to_string());
        Ok(Cluster { client: Client::try_from(config)?, namespace, url })
    }

    async fn config(&self) -> Result<Config, Box<dyn std::error::Error>> {
        let options =
            KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        Ok(match (&self.kubeconfig, &self.context) {
            (Some(file), _) => {
                Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &options).await?
            }
            (None, Some(_)) => Config::from_kubeconfig(&options).await?,
            (None, None) => Config::infer().await?,
        })
    }
}

// === impl Cluster ===

impl Cluster {
    /// Asks the API server which version of endpoint slices it serves: `v1`, or `v1beta1` before Kubernetes 1.21.
    /// `None` if it has none, or has just started and does not know all of its API yet.
    pub(crate) async fn endpoint_slices(&self) -> Result<Option<ApiResource>, Error> {
        let groups = self.client.list_api_groups().await?.groups;
        let group = groups.into_iter().find(|group| group.name == EndpointSlice::GROUP);
        let serves = |version: &&str| {
            let versions = group.iter().flat_map(|group| &group.versions);
            versions.into_iter().any(|served| served.version == *version)
        };
        Ok(["v1", "v1beta1"].iter().find(|it| serves(it)).map(|it| EndpointSlice::resource(it)))
    }
}

/// Describes an error in one line.
pub(crate) fn describe(error: &Error) -> String {
    match error {
        Error::Api(status) => {
            format!("the API server answers {} {}: {}", status.code, status.reason, status.message)
        }
        Error::Auth(error) => format!("the credentials cannot be used: {error}"),
        error => {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(error);
            while let Some(cause) = source {
                let cause_text = cause.to_string();
                if !text.contains(&cause_text) {
                    text = format!("{text}: {cause_text}");
                }
                source = cause.source();
            }
            text
        }
    }
}

/// What resolves an error.
pub(crate) fn remedy(error: &Error) -> Option<&'static str> {
    match error {
        Error::Api(status) if status.code == 401 => {
            Some("renew the token of the kubeconfig or of the service account")
        }
        Error::Api(status) if status.code == 403 => Some(
            "grant the rights in packaging/kubernetes/rbac.yaml, or in pods.yaml for pods, or name the namespaces that may be read with --namespace",
        ),
        Error::Api(_) => None,
        Error::Auth(_) => Some("check the user of the kubeconfig"),
        _ => Some("check that the API server runs and that its address in the kubeconfig is right"),
    }
}
