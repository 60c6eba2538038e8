//! `portolan kubernetes pods`: the annotated pods of a node, or of the cluster, as instances in a registry.

mod annotations;
mod instance;

use std::collections::BTreeMap;
use std::collections::HashMap;

use clap::Args;
use portolan_core::{Registration, ServiceId};
use tracing::{info, warn};

use crate::bridge;
use crate::changes::PodChange;
use crate::exit::{Exit, Failure};
use crate::follow::follow_pods;
use crate::instances::Naming;
use crate::known::{Key, Object, Objects, key};
use crate::objects::Pod;
use crate::options::RegisterOptions;
use crate::registrant::Registrant;
use crate::registrar::Registrar;
use crate::shutdown;

pub(crate) const AFTER_HELP: &str = "\
A pod is registered while it is ready, if its annotations name a service, in the scope of its namespace:

  portolan/name       the service
  portolan/port       the port, or the name of a port of a container [default: the only TCP port that the containers declare]
  portolan/protocol   http, grpc … [default: what the name of the port begins with, else tcp or udp]
  portolan/version    the version [default: the label app.kubernetes.io/version]
  portolan/meta.KEY   metadata

No Service is needed. A pod behind a Service is registered by `portolan kubernetes import` too; give that Service the label \
portolan/import=false. What was registered stays until its lease ends (--ttl), so that the restart of this program changes nothing.";

/// Options of `portolan kubernetes pods`.
#[derive(Debug, Args)]
pub(crate) struct Pods {
    /// Only the pods of this node, as for one of these programs on each node [default: all nodes]
    #[arg(long, value_name = "NODE", env = "PORTOLAN_KUBERNETES_NODE", value_parser = parse_node)]
    node: Option<String>,
    /// Only pods with these labels, such as team=shop
    #[arg(long, value_name = "SELECTOR", default_value = "", hide_default_value = true)]
    selector: String,
    #[command(flatten)]
    options: RegisterOptions,
}

/// The pods that are followed.
struct Followed {
    naming: Naming,
    pods: Objects<Pod>,
    /// What was reported of each pod whose annotations cannot be used.
    reported: HashMap<Key, String>,
}

// === impl Pods ===

impl Pods {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let mut stop = shutdown::signals()?;
        let registry = bridge::registry()?;
        let cluster = self.options.cluster.open().await?;
        let naming = self.options.naming()?;
        let (namespaces, node) = (self.options.namespace, self.node);
        let shown = node.as_deref().unwrap_or("(all)");
        info!(cluster = %cluster.url, node = shown, registry = registry.urls(), "Following the pods of the cluster");
        let changes = follow_pods(&cluster.client, &namespaces, &self.selector, node.as_deref());
        let registrant = Registrant::Pods { node };
        let registrar = Registrar::new(registry, naming.clone(), registrant, namespaces);
        let ttl = naming.ttl.duration();
        let mut followed = Followed { naming, pods: Objects::default(), reported: HashMap::new() };
        let apply = |registrar: &mut Registrar, change| followed.apply(registrar, change);
        tokio::select! {
            result = bridge::run(changes, registrar, ttl, apply) => result,
            () = stop.wait() => Ok(Exit::Done),
        }
    }
}

/// Reads the name of a node. It becomes a part of a field selector.
fn parse_node(text: &str) -> Result<String, String> {
    let is_valid =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    match !text.is_empty() && text.len() <= 253 && text.bytes().all(is_valid) {
        true => Ok(text.to_owned()),
        false => {
            Err("expected the name of a node: lower-case letters, digits, '-' and '.'".to_owned())
        }
    }
}

// === impl Followed ===

impl Followed {
    fn apply(&mut self, registrar: &mut Registrar, PodChange { namespace, event }: PodChange) {
        let is_done = matches!(event, kube::runtime::watcher::Event::InitDone);
        for (pod, _, _) in self.pods.apply(namespace.as_ref(), event) {
            let instances = self.instances(&pod);
            registrar.set(&pod, instances);
        }
        if is_done {
            registrar.listed(namespace.as_deref());
        }
    }

    fn instances(&mut self, key: &Key) -> BTreeMap<ServiceId, Registration> {
        let Some(pod) = self.pods.known.get(key) else {
            self.reported.remove(key);
            return BTreeMap::new();
        };
        match self.naming.pod_instance(pod) {
            Ok(instance) => {
                self.reported.remove(key);
                instance.into_iter().map(|instance| (instance.id(), instance)).collect()
            }
            Err(problem) => {
                let problem = problem.to_string();
                if self.reported.get(key) != Some(&problem) {
                    warn!(namespace = key.namespace, pod = key.name, problem, "Pod not registered");
                    self.reported.insert(key.clone(), problem);
                }
                BTreeMap::new()
            }
        }
    }
}

impl Object for Pod {
    fn subject(&self) -> Option<Key> {
        key(self)
    }

    /// The annotations of others may be large, and are of no use here.
    fn strip(&mut self) {
        self.metadata.managed_fields = None;
        if let Some(annotations) = &mut self.metadata.annotations {
            annotations.retain(|key, _| key.starts_with(annotations::PREFIX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_a_node_cannot_extend_the_selector() {
        assert!(parse_node("ip-10-0-0-1.eu").is_ok());
        for text in ["", "n1,spec.nodeName!=n2", "N1", "n 1", &"n".repeat(254)] {
            assert!(parse_node(text).is_err(), "{text}");
        }
    }
}
