//! deadpool with tokio-postgres.

use anyhow::{Result, ensure};
use deadpool::managed::Pool;
use portolan_postgres::{PostgresManager, ServerOptions, TargetRole};
use portolan_tests::postgres::{Postgres, psql};
use portolan_tests::{isolated, wait_for};
use tokio::runtime::Runtime;

use super::load::Load;
use super::postgres_service::{NAME, PostgresService, TABLE, stored};
use super::{ACQUIRE, instances, runtime};

fn pool(runtime: &Runtime, target: TargetRole) -> Result<Pool<PostgresManager>> {
    let options = ServerOptions::new(target).acquire_timeout(ACQUIRE);
    let config = "user=app dbname=postgres".parse()?;
    let manager = PostgresManager::new(instances(runtime, NAME)?, config, options)?;
    Ok(Pool::builder(manager).max_size(3).build()?)
}

async fn write(pool: Pool<PostgresManager>, number: i64) -> Result<()> {
    let connection = pool.get().await?;
    connection.execute("INSERT INTO hits VALUES ($1)", &[&number]).await?;
    Ok(())
}

/// Reads from a connection whose server is in the role that is asked for.
async fn read(pool: Pool<PostgresManager>, is_standby: bool) -> Result<()> {
    let connection = pool.get().await?;
    let row = connection.query_one("SELECT pg_is_in_recovery(), count(*) FROM hits", &[]).await?;
    ensure!(row.get::<_, bool>(0) == is_standby, "{:?} has another role", connection.endpoint());
    Ok(())
}

#[test]
fn postgres_returns_on_another_port_and_another_server_takes_its_address() {
    isolated(|env| {
        let _registry = env.settled_registry()?;
        let (cluster, other) =
            (Postgres::prepare(env, "db")?, Postgres::prepare_another(env, "other")?);
        let first = PostgresService::start(env, &cluster, 6001, "primary")?;
        first.query(TABLE)?;
        let runtime = runtime()?;
        let pool = pool(&runtime, TargetRole::Primary)?;
        let writers = pool.clone();
        let load = Load::start(&runtime, "writers", move |number| write(writers.clone(), number));
        load.wait_for_successes(200)?;

        let outage = first.kill()?;
        let _other = other.start(env, 6001)?;
        psql("127.0.0.1", 6001, TABLE)?;
        let _second = PostgresService::start(env, &cluster, 6002, "primary")?;
        load.wait_for_successes(400)?;

        let outcome = load.finish(&runtime)?;
        outcome.check(&[outage])?;
        outcome.check_stored(&stored(6002)?)?;
        ensure!(stored(6001)?.is_empty(), "the other server was reached");
        close(&runtime, &pool)
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
        let (writers, readers) = (writing.clone(), reading.clone());
        let writers =
            Load::start(&runtime, "writers", move |number| write(writers.clone(), number));
        let readers = Load::start(&runtime, "readers", move |_| read(readers.clone(), true));
        writers.wait_for_successes(200)?;
        readers.wait_for_successes(200)?;
        standby.wait_for_replay(&primary)?;

        // The registry goes on saying that 6002 is the standby.
        let killed = primary.kill()?;
        let promotion = standby.promote()?;
        writers.wait_for_successes(400)?;
        // There is no standby until the next one is started.
        let next = Postgres::prepare_standby(env, "next", 6002)?;
        let _next = PostgresService::start(env, &next, 6003, "primary")?;
        readers.wait_for_successes(400)?;

        let (written, read) = (writers.finish(&runtime)?, readers.finish(&runtime)?);
        written.check(&[killed])?;
        // What was read while the server was promoted came from a primary at the end.
        read.check(&[promotion])?;
        let stored_here = stored(6002)?;
        let later = written.succeeded_since(killed.1);
        ensure!(!later.is_empty() && later.iter().all(|number| stored_here.contains(number)));
        wait_for("the next standby to have all", || {
            ensure!(stored(6003)?.len() == stored_here.len(), "it has not");
            Ok(())
        })?;
        close(&runtime, &writing)?;
        close(&runtime, &reading)
    });
}

/// Ends the pool, and waits for its connections.
fn close(runtime: &Runtime, pool: &Pool<PostgresManager>) -> Result<()> {
    pool.close();
    runtime.block_on(pool.manager().closed());
    Ok(())
}
