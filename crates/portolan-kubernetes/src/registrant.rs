//! The commands that register what a cluster has. Each removes only what it has registered itself.

use portolan_core::{Metadata, Registration};

/// The metadata entry of an instance that tells which of the commands has registered it; imported Services have none.
const REGISTRANT: (&str, &str) = ("kubernetes.registrant", "pods");
/// The metadata entry with the node of an instance.
pub(crate) const NODE: &str = "kubernetes.node";

/// A command that registers instances of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Registrant {
    /// `import`.
    Services,
    /// `pods`, for one node or for all.
    Pods { node: Option<String> },
}

// === impl Registrant ===

impl Registrant {
    /// Marks the instances of annotated pods.
    pub(crate) fn mark_pod(metadata: &mut Metadata) {
        let (key, value) = REGISTRANT;
        metadata.insert(key.to_owned(), value.to_owned());
    }

    /// Whether an instance of the cluster was registered by this command, or by an earlier run of it.
    pub(crate) fn has_written(&self, registration: &Registration) -> bool {
        let (key, value) = REGISTRANT;
        let is_of_pods = registration.metadata.get(key).is_some_and(|it| it == value);
        match self {
            Self::Services => !is_of_pods,
            Self::Pods { node: None } => is_of_pods,
            Self::Pods { node: Some(node) } => {
                is_of_pods && registration.metadata.get(NODE).is_some_and(|it| it == node)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_knows_its_own_instances() {
        let mut service =
            Registration::new("web".parse().unwrap(), "10.0.0.1".parse().unwrap(), 80);
        service.metadata.insert(NODE.to_owned(), "n1".to_owned());
        let mut pod = service.clone();
        Registrant::mark_pod(&mut pod.metadata);
        let node = |name: &str| Registrant::Pods { node: Some(name.to_owned()) };
        for (registrant, of_service, of_pod) in [
            (Registrant::Services, true, false),
            (Registrant::Pods { node: None }, false, true),
            (node("n1"), false, true),
            (node("n2"), false, false),
        ] {
            assert_eq!(registrant.has_written(&service), of_service, "{registrant:?}");
            assert_eq!(registrant.has_written(&pod), of_pod, "{registrant:?}");
        }
    }
}
