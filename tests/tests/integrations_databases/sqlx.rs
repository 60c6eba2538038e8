//! The pool of sqlx.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use portolan_postgres::{ServerOptions, SqlxPool, TargetRole};
use portolan_tests::postgres::{Postgres, psql};
use portolan_tests::{isolated, wait_for};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::load::Load;
use super::postgres_service::{NAME, PostgresService, TABLE, stored};
use super::{ACQUIRE, instances, runtime};

/// sqlx waits a fifth of it at most before it tries to connect again.
const POOL_ACQUIRE: std::time::Duration = std::time::Duration::from_secs(20);

fn pool(runtime: &Runtime, target: TargetRole) -> Result<Arc<SqlxPool>> {
    let session = PgConnectOptions::new_without_pgpass().username("app").database("postgres");
    let pool = PgPoolOptions::new().max_connections(3).acquire_timeout(POOL_ACQUIRE);
    let options = ServerOptions::new(target).acquire_timeout(ACQUIRE);
    let instances = instances(runtime, NAME)?;
    let connecting = SqlxPool::connect(instances, session, pool, options);
    Ok(Arc::new(runtime.block_on(connecting)?))
}

async fn write(pool: Arc<SqlxPool>, number: i64) -> Result<()> {
    sqlx::query("INSERT INTO hits VALUES ($1)").bind(number).execute(&**pool).await?;
    Ok(())
}

/// Reads from a connection whose server is a standby.
async fn read(pool: Arc<SqlxPool>) -> Result<()> {
    let query = "SELECT pg_is_in_recovery() FROM (SELECT count(*) FROM hits) AS counted";
    let is_standby: bool = sqlx::query_scalar(query).fetch_one(&**pool).await?;
    ensure!(is_standby, "the server has another role");
    Ok(())
}

/// Waits until new connections lead to this port, and returns when.
fn leads_to(pool: &SqlxPool, port: u16) -> Result<Instant> {
    wait_for("the pool to lead to the next server", || {
        let now = pool.endpoint().map(|endpoint| endpoint.port);
        ensure!(now == Some(port), "it leads to {now:?}");
        Ok(Instant::now())
    })
}

fn close(runtime: &Runtime, pool: Arc<SqlxPool>) -> Result<()> {
    let pool = Arc::try_unwrap(pool).ok().context("a task has the pool")?;
    runtime.block_on(pool.close());
    Ok(())
}

#[test]
fn postgres_returns_on_another_port_and_another_server_takes_its_address() {
    isolated(|env| {
        let _registry = env.settled_registry()?;
        let cluster = Postgres::prepare(env, "db")?;
        let other = Postgres::prepare_another(env, "other")?;
        let first = PostgresService::start(env, &cluster, 6001, "primary")?;
        first.query(TABLE)?;
        let runtime = runtime()?;
        let pool = pool(&runtime, TargetRole::Primary)?;
        let writers = Arc::clone(&pool);
        let load =
            Load::start(&runtime, "writers", move |number| write(Arc::clone(&writers), number));
        load.wait_for_successes(200)?;

        let (begun, _) = first.kill()?;
        let _other = other.start(env, 6001)?;
        psql("127.0.0.1", 6001, TABLE)?;
        let _second = PostgresService::start(env, &cluster, 6002, "primary")?;
        let ended = leads_to(&pool, 6002)?;
        load.wait_for_successes(400)?;

        let outcome = load.finish(&runtime)?;
        outcome.check(&[(begun, ended)])?;
        outcome.check_stored(&stored(6002)?)?;
        ensure!(stored(6001)?.is_empty(), "the other server was reached");
        close(&runtime, pool)
    });
}

#[test]
fn writers_follow_the_primary_and_readers_the_standby_through_a_promotion() {
    isolated(|env| {
        let _registry = env.settled_registry()?;
        let cluster = Postgres::prepare(env, "primary")?;
        let primary = PostgresService::start(env, &cluster, 6001, "primary")?;
        primary.query(TABLE)?;
        let copy = Postgres::prepare_standby(env, "standby", 6001)?;
        let standby = PostgresService::start(env, &copy, 6002, "standby")?;
        let runtime = runtime()?;
        let writing = pool(&runtime, TargetRole::Primary)?;
        let reading = pool(&runtime, TargetRole::Standby)?;
        let (writer, reader) = (Arc::clone(&writing), Arc::clone(&reading));
        let writers =
            Load::start(&runtime, "writers", move |number| write(Arc::clone(&writer), number));
        let readers = Load::start(&runtime, "readers", move |_| read(Arc::clone(&reader)));
        writers.wait_for_successes(200)?;
        readers.wait_for_successes(200)?;
        standby.wait_for_replay(&primary)?;

        // The registry goes on saying that 6002 is the standby.
        let (killed, _) = primary.kill()?;
        let (promoted, _) = standby.promote()?;
        let written_again = leads_to(&writing, 6002)?;
        writers.wait_for_successes(400)?;
        let next = Postgres::prepare_standby(env, "next", 6002)?;
        let _next = PostgresService::start(env, &next, 6003, "primary")?;
        let read_again = leads_to(&reading, 6003)?;
        readers.wait_for_successes(400)?;

        let (written, read) = (writers.finish(&runtime)?, readers.finish(&runtime)?);
        written.check(&[(killed, written_again)])?;
        read.check(&[(promoted, read_again)])?;
        let stored_here = stored(6002)?;
        let later = written.succeeded_since(written_again);
        ensure!(!later.is_empty() && later.iter().all(|number| stored_here.contains(number)));
        close(&runtime, writing)?;
        close(&runtime, reading)
    });
}
