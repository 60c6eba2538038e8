//! Benchmarks of the registry, compared with what limits it.

mod durable;
mod recovery;

pub(crate) use durable::rows as durable;
pub(crate) use recovery::rows as recovery;

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use portolan_core::Registration;
use portolan_registry::{Command, CommandOrigin, Registry, RegistryConfig};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A registry over a data directory, in this process.
#[derive(Debug)]
struct DurableRegistry {
    registry: Registry,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

// === impl DurableRegistry ===

impl DurableRegistry {
    fn open(data_dir: &Path, max_endpoints: usize) -> Result<Self> {
        let data_dir = Some(data_dir.to_owned());
        let config = RegistryConfig { data_dir, max_endpoints, ..RegistryConfig::default() };
        let (task, registry) = portolan_registry::open(&config, Default::default())?;
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(task.run(async { drop(stopped.await) }));
        Ok(Self { registry, stop, task })
    }

    async fn close(self) -> Result<()> {
        drop((self.registry, self.stop));
        Ok(self.task.await?)
    }

    /// Applies commands, all of which must succeed.
    async fn apply(registry: &Registry, commands: Vec<Command>) -> Result<()> {
        for outcome in registry.apply(commands, CommandOrigin::local()).await {
            outcome?;
        }
        Ok(())
    }
}

/// A registration as a service sends it, with a health URL and some metadata.
fn registration(number: usize) -> Result<Registration> {
    let (name, id) = (format!("service-{}", number % 1000), format!("service-{number}"));
    let host = format!("10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255);
    let mut registration = Registration::new(name.parse()?, host.parse()?, 8080);
    registration.id = Some(id.parse()?);
    registration.health_url = Some(format!("http://{host}:8080/health"));
    registration.metadata = [("region", "eu-1"), ("version", "1.2.3")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    Ok(registration)
}

fn runtime() -> Result<Arc<tokio::runtime::Runtime>> {
    Ok(Arc::new(tokio::runtime::Builder::new_multi_thread().enable_all().build()?))
}
