//! The examples of the crates, as `docs/integrations-databases.md` shows them.

use std::process::Command;

use anyhow::{Result, ensure};
use portolan_tests::postgres::Postgres;
use portolan_tests::{Process, TestEnv, isolated, target_directory};

use super::postgres_service::{NAME, PostgresService};

fn example(env: &TestEnv, name: &str, service: &str) -> Result<Process> {
    let program = target_directory()?.join("examples").join(name);
    ensure!(program.is_file(), "{name} is not built; build with --examples and the feature full");
    let mut command = Command::new(program);
    command.arg(service).envs([("PGUSER", "postgres"), ("PGDATABASE", "postgres")]);
    command.current_dir(env.directory());
    env.spawn(name, command)
}

#[test]
fn examples_go_on_at_the_next_server() {
    isolated(|env| {
        let _registry = env.settled_registry()?;
        let cluster = Postgres::prepare(env, "db")?;
        let first = PostgresService::start(env, &cluster, 6001, "primary")?;
        let redis = |port: &str| {
            let options = ["--preferred", port, "--strict", "--ttl", "1h"];
            env.service("sessions", &options, &portolan_tests::redis::command("{port}")?)
        };
        let mut first_redis = redis("6501")?;
        let mut programs = [
            example(env, "postgres_deadpool", NAME)?,
            example(env, "postgres_sqlx", NAME)?,
            example(env, "redis_counter", "sessions")?,
        ];
        for (program, place) in programs.iter_mut().zip([":6001", ":6001", ":6501"]) {
            program.wait_for_line(place)?;
        }
        first.kill()?;
        let _second = PostgresService::start(env, &cluster, 6002, "primary")?;
        first_redis.terminate()?;
        let _second_redis = redis("6502")?;
        for (program, place) in programs.iter_mut().zip([":6002", ":6002", ":6502"]) {
            program.wait_for_line(&format!("at 127.0.0.1{place}"))?;
        }
        Ok(())
    });
}
