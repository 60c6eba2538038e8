//! The start over a data directory with 100,000 endpoints, compared with reading its files.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use portolan_registry::{Command, Query};

use super::{BenchRegistry, registration, runtime};
use crate::bench_env::BenchEnv;
use crate::report::{Goal, Row, Unit};
use crate::statistics::median;

const ROUNDS: usize = 7;
const ENDPOINTS: usize = 100_000;
/// In milliseconds.
const GOAL: Goal = Goal::AtMost(1000.0);

/// A row for the time from opening the directory to the first lookup that finds an instance.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let env = BenchEnv::new()?;
    let data = env.directory().join("data");
    let runtime = runtime()?;
    runtime.block_on(fill(&data))?;
    let (mut recovered, mut read) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for entry in fs::read_dir(&data)? {
            ensure!(!fs::read(entry?.path())?.is_empty());
        }
        read.push(start.elapsed().as_secs_f64() * 1e3);
        recovered.push(runtime.block_on(recover(&data))?);
    }
    let millis = Unit::Millis(median(recovered));
    Ok(vec![Row {
        what: format!("start with {ENDPOINTS} endpoints in the data directory / reading it"),
        measured: millis,
        baseline: Unit::Millis(median(read)),
        compared: millis,
        goal: GOAL,
        specified: "",
    }])
}

async fn fill(data: &Path) -> Result<()> {
    let durable = BenchRegistry::durable(data, ENDPOINTS)?;
    let numbers: Vec<_> = (0..ENDPOINTS).collect();
    for numbers in numbers.chunks(1000) {
        let register = |number: &usize| Ok(Command::Register(registration(*number)?));
        let commands = numbers.iter().map(register).collect::<Result<_>>()?;
        BenchRegistry::apply(&durable.registry, commands).await?;
    }
    durable.close().await
}

/// Returns the milliseconds until the last endpoint is found.
async fn recover(data: &Path) -> Result<f64> {
    let start = Instant::now();
    let durable = BenchRegistry::durable(data, ENDPOINTS)?;
    let query = Query::for_service("service-999".parse()?);
    while durable.registry.lookup(&query).0.is_empty() {
        tokio::task::yield_now().await;
    }
    let millis = start.elapsed().as_secs_f64() * 1e3;
    durable.close().await?;
    Ok(millis)
}
