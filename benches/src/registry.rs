//! Benchmarks of the registry, compared with what limits it.

mod durable;
#[cfg(feature = "full")]
pub(crate) mod etcd;
mod recovery;

pub(crate) use durable::rows as durable;
#[cfg(feature = "full")]
pub(crate) use etcd::{load::rows as etcd, peers::rows as etcd_peers};
pub(crate) use recovery::rows as recovery;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use portolan_core::Registration;
use portolan_registry::{Command, CommandOrigin, Registry, RegistryConfig};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

/// A registry in this process.
#[derive(Debug)]
struct BenchRegistry {
    registry: Registry,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

// === impl BenchRegistry ===

impl BenchRegistry {
    /// Opens one over a data directory.
    fn durable(data_dir: &Path, max_endpoints: usize) -> Result<Self> {
        let data_dir = Some(data_dir.to_owned());
        Self::open(&RegistryConfig { data_dir, max_endpoints, ..RegistryConfig::default() })
    }

    fn open(config: &RegistryConfig) -> Result<Self> {
        let (task, registry) = portolan_registry::open(config, Default::default())?;
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(task.run(async { drop(stopped.await) }));
        Ok(Self { registry, stop, task })
    }

    async fn close(self) -> Result<()> {
        drop((self.registry, self.stop));
        Ok(self.task.await?)
    }

    /// Registers so many instances, by so many writers at the same time; returns how many a second.
    async fn register(registry: &Registry, writers: usize, count: usize) -> Result<f64> {
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for writer in 0..writers {
            let registry = registry.clone();
            tasks.spawn(async move {
                for number in (writer..count).step_by(writers) {
                    let command = Command::Register(registration(number)?);
                    Self::apply(&registry, vec![command]).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(task) = tasks.join_next().await {
            task??;
        }
        Ok(count as f64 / start.elapsed().as_secs_f64())
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
