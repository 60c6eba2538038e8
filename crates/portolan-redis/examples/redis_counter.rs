//! Counts in the primary of a service, as long as the program runs:
//!
//! ```sh
//! cargo run -p portolan-redis --example redis_counter -- sessions
//! ```
//!
//! Kill the primary, or promote a replica (`REPLICAOF NO ONE`): the program goes on with the next primary.

use std::error::Error;
use std::time::Duration;

use portolan_client::DiscoveryClient;
use portolan_redis::{RedisConnection, RedisSettings, ServerOptions, TargetRole};
use tokio::time::sleep;

#[expect(clippy::print_stdout, reason = "the purpose of the example")]
async fn count(connection: &mut RedisConnection) -> Result<(), Box<dyn Error>> {
    let visits: u64 = redis::cmd("INCR").arg("visits").query_async(connection).await?;
    println!("{visits} visits at {}", connection.endpoint().await?.address());
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stderr, reason = "the purpose of the example")]
async fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).ok_or("usage: redis_counter SERVICE")?;
    let client: DiscoveryClient = DiscoveryClient::builder().from_env()?.build()?;
    let instances = client.instances(&name).await?;
    let options = ServerOptions::new(TargetRole::Primary);
    let mut connection = RedisConnection::new(instances, RedisSettings::default(), options);
    loop {
        if let Err(error) = count(&mut connection).await {
            eprintln!("{error}");
        }
        sleep(Duration::from_millis(500)).await;
    }
}
