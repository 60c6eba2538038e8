//! The options of the commands that register what a cluster has.

use clap::Args;
use portolan_core::{Ttl, parse_duration};

use crate::cluster::{ClusterName, ClusterOptions};
use crate::exit::Failure;
use crate::instances::Naming;

/// What is read, and how it is registered.
#[derive(Debug, Args)]
pub(crate) struct RegisterOptions {
    /// Namespace to read; repeatable [default: all]
    #[arg(long, short, value_name = "NAMESPACE")]
    pub(crate) namespace: Vec<String>,
    /// What precedes the namespace in the name of the scope, such as prod-
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    scope_prefix: String,
    /// Lease of each instance
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_ttl)]
    ttl: Ttl,
    #[command(flatten)]
    pub(crate) cluster: ClusterOptions,
    #[command(flatten)]
    cluster_name: ClusterName,
}

// === impl RegisterOptions ===

impl RegisterOptions {
    /// Returns how the objects of the cluster are named in the registry.
    pub(crate) fn naming(&self) -> Result<Naming, Failure> {
        let naming = Naming {
            cluster: self.cluster_name.cluster.clone(),
            scope_prefix: self.scope_prefix.clone(),
            ttl: self.ttl,
        };
        match naming.scope("a") {
            Some(_) => Ok(naming),
            None => Err(Failure::usage("--scope-prefix: it is not the beginning of a scope")),
        }
    }
}

fn parse_ttl(text: &str) -> Result<Ttl, String> {
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    Ttl::new(duration).map_err(|error| error.to_string())
}
