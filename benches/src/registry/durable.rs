//! Registrations that are on the disk when they are acknowledged, compared with a loop that writes the same
//! batches and synchronises each (fdatasync(2)).

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use super::{BenchRegistry, runtime};
use crate::bench_env::BenchEnv;
use crate::report::{Goal, Row, Unit};
use crate::statistics::median;

const ROUNDS: usize = 7;
/// Registrations in a round.
const COUNT: usize = 6_400;

/// Rows for one writer and for 64.
pub(crate) fn rows() -> Result<Vec<Row>> {
    [1, 64].into_iter().map(row).collect()
}

fn row(writers: usize) -> Result<Row> {
    let count = if writers == 1 { COUNT / 16 } else { COUNT };
    let (mut durable, mut bare, mut ratios, mut batches) = (vec![], vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        let env = BenchEnv::new()?;
        let data = env.directory().join("data");
        let rate = runtime()?.block_on(register(&data, writers, count))?;
        let journal = fs::read(data.join("journal-00000001"))?;
        let lines: Vec<_> = journal.split_inclusive(|byte| *byte == b'\n').skip(2).collect();
        let limit = count as f64 / write(&env.directory().join("bare"), &lines)?;
        durable.push(rate);
        bare.push(limit);
        ratios.push(rate / limit);
        batches.push(lines.len() as f64);
    }
    let batch = count as f64 / median(batches);
    Ok(Row {
        what: format!("durable registrations, {writers} writers ({batch:.0} a batch) / fdatasync"),
        measured: Unit::PerSecond(median(durable)),
        baseline: Unit::PerSecond(median(bare)),
        compared: Unit::Times(median(ratios)),
        goal: Goal::Unset,
        specified: "",
    })
}

/// Registers instances over a new data directory; returns how many a second.
pub(super) async fn register(data: &Path, writers: usize, count: usize) -> Result<f64> {
    let durable = BenchRegistry::durable(data, count)?;
    let rate = BenchRegistry::register(&durable.registry, writers, count).await?;
    durable.close().await?;
    Ok(rate)
}

/// Writes each line and synchronises it; returns the seconds.
fn write(path: &Path, lines: &[&[u8]]) -> Result<f64> {
    let mut file = File::create_new(path).with_context(|| path.display().to_string())?;
    let start = Instant::now();
    for line in lines {
        file.write_all(line)?;
        file.sync_data()?;
    }
    Ok(start.elapsed().as_secs_f64())
}
