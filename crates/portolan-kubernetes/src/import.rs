//! `portolan kubernetes import`: the ready endpoints of the cluster's Services as instances in a registry.

use clap::Args;
use tracing::info;

use crate::bridge;
use crate::changes::SourceChange;
use crate::exit::{Exit, Failure};
use crate::follow::{Sources, follow};
use crate::instances::Naming;
use crate::options::RegisterOptions;
use crate::registrant::Registrant;
use crate::registrar::Registrar;
use crate::shutdown;
use crate::view::View;

pub(crate) const AFTER_HELP: &str = "\
Each Service is a service of its name in the scope of its namespace: Service web of namespace shop is found by `portolan --scope shop \
discover web`, and from every scope as web.shop, web.shop.svc and web.shop.svc.cluster.local. The other ports are in the metadata, as \
port.NAME. Services and slices that Portolan has written are left out, and Services with the label portolan/import=false.

What was registered stays until its lease ends (--ttl), so that the restart of this program changes nothing. Several may run at once.";

/// Options of `portolan kubernetes import`.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Only Services with these labels, such as team=shop
    #[arg(long, value_name = "SELECTOR", default_value = "", hide_default_value = true)]
    selector: String,
    #[command(flatten)]
    options: RegisterOptions,
}

// === impl Import ===

impl Import {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let mut stop = shutdown::signals()?;
        let registry = bridge::registry()?;
        let cluster = self.options.cluster.open().await?;
        let naming = self.options.naming()?;
        info!(cluster = %cluster.url, registry = registry.urls(), "Following the Services of the cluster");
        let namespaces = self.options.namespace;
        let registrar =
            Registrar::new(registry, naming.clone(), Registrant::Services, namespaces.clone());
        let sources =
            Sources { namespaces, selector: self.selector, slice_selector: String::new() };
        let ttl = naming.ttl.duration();
        let mut services = Services { naming, view: View::default() };
        let apply = |registrar: &mut Registrar, change| services.apply(registrar, change);
        tokio::select! {
            result = bridge::run(follow(&cluster, &sources), registrar, ttl, apply) => result,
            () = stop.wait() => Ok(Exit::Done),
        }
    }
}

/// The Services of the cluster.
struct Services {
    naming: Naming,
    view: View,
}

// === impl Services ===

impl Services {
    fn apply(&mut self, registrar: &mut Registrar, change: SourceChange) {
        let touched = self.view.apply(change);
        for service in touched.services {
            let known = self.view.service(&service);
            let instances = |known| self.naming.instances(known, self.view.slices(&service));
            registrar.set(&service, known.map(instances).unwrap_or_default());
        }
        if let Some(source) = touched.listed {
            registrar.listed(source.as_deref());
        }
    }
}
