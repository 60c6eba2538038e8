//! Counts in a table of the primary of a service, as long as the program runs:
//!
//! ```sh
//! cargo run -p portolan-postgres --features sqlx --example postgres_sqlx -- orders-db
//! ```
//!
//! Kill the primary, or promote a standby: the program goes on with the next primary. The user, the database and the password
//! are those of the variables `PGUSER`, `PGDATABASE` and `PGPASSWORD`.

use std::error::Error;
use std::time::Duration;

use portolan_client::DiscoveryClient;
use portolan_postgres::{ServerOptions, SqlxPool, TargetRole};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::time::sleep;

#[expect(clippy::print_stdout, reason = "the purpose of the example")]
async fn count(pool: &SqlxPool) -> Result<(), Box<dyn Error>> {
    sqlx::query("CREATE TABLE IF NOT EXISTS visits (at timestamptz)").execute(&**pool).await?;
    sqlx::query("INSERT INTO visits VALUES (now())").execute(&**pool).await?;
    let visits: i64 = sqlx::query_scalar("SELECT count(*) FROM visits").fetch_one(&**pool).await?;
    let address = pool.endpoint().map(|endpoint| endpoint.address());
    println!("{visits} visits at {}", address.unwrap_or_default());
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stderr, reason = "the purpose of the example")]
async fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).ok_or("usage: postgres_sqlx SERVICE")?;
    let client: DiscoveryClient = DiscoveryClient::builder().from_env()?.build()?;
    let instances = client.instances(&name).await?;
    let (session, options) = (PgConnectOptions::new(), ServerOptions::new(TargetRole::Primary));
    let pool = SqlxPool::connect(instances, session, PgPoolOptions::new(), options).await?;
    loop {
        if let Err(error) = count(&pool).await {
            eprintln!("{error}");
        }
        sleep(Duration::from_millis(500)).await;
    }
}
