//! Counts in a table of the primary of a service, and reads from a standby, as long as the program runs:
//!
//! ```sh
//! cargo run -p portolan-postgres --example postgres_deadpool -- orders-db user=postgres
//! ```
//!
//! Kill the primary, or promote the standby: the program goes on with the next primary.

use std::error::Error;
use std::time::Duration;

use deadpool::managed::Pool;
use portolan_client::{DiscoveryClient, ServiceInstances};
use portolan_postgres::{PostgresManager, ServerOptions, TargetRole};
use tokio::time::sleep;

type Failure = Box<dyn Error>;

fn pool(
    instances: ServiceInstances,
    config: &tokio_postgres::Config,
    target: TargetRole,
) -> Result<Pool<PostgresManager>, Failure> {
    let manager = PostgresManager::new(instances, config.clone(), ServerOptions::new(target))?;
    Ok(Pool::builder(manager).max_size(4).build()?)
}

#[expect(clippy::print_stdout, reason = "the purpose of the example")]
async fn count(
    writers: &Pool<PostgresManager>,
    readers: &Pool<PostgresManager>,
) -> Result<(), Failure> {
    let writer = writers.get().await?;
    writer.batch_execute("CREATE TABLE IF NOT EXISTS visits (at timestamptz)").await?;
    writer.execute("INSERT INTO visits VALUES (now())", &[]).await?;
    let reader = readers.get().await?;
    let visits: i64 = reader.query_one("SELECT count(*) FROM visits", &[]).await?.get(0);
    let (written, read) = (writer.endpoint().address(), reader.endpoint().address());
    println!("{visits} visits: written at {written}, read at {read}");
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stderr, reason = "the purpose of the example")]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().ok_or("usage: postgres_deadpool SERVICE [CONFIGURATION]")?;
    let config = arguments.next().unwrap_or_else(|| "user=postgres".to_owned()).parse()?;
    let client: DiscoveryClient = DiscoveryClient::builder().from_env()?.build()?;
    let instances = client.instances(&name).await?;
    let writers = pool(instances.clone(), &config, TargetRole::Primary)?;
    let readers = pool(instances, &config, TargetRole::PreferStandby)?;
    loop {
        if let Err(error) = count(&writers, &readers).await {
            eprintln!("{error}");
        }
        sleep(Duration::from_millis(500)).await;
    }
}
