//! What the checks of 10,000 instances cost a registry, and how evenly they are spread.
//!
//! `portolan serve` checks 10,000 instances every 10 s, half of them with `tcp` and half with `http`, at servers in this
//! process. It is measured over a minute, and again after it was stopped by a signal for three intervals.

pub(crate) mod process;
mod targets;

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::bench_env::BenchEnv;
use crate::flood::server::Client;
use crate::report::{Goal, Row, Unit};
use crate::served::ServedRegistry;
use targets::{Arrivals, Targets};

const INSTANCES: usize = 10_000;
const INTERVAL: Duration = Duration::from_secs(10);
const MEASURED: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(30);
/// The window whose checks are counted, to see how evenly they are spread.
const WINDOW: Duration = Duration::from_millis(100);
/// The upper bounds of the histogram of the lateness that are within the interval.
const IN_TIME: &str = r#"discovery_health_check_lateness_seconds_bucket{le="10.0"}"#;
const CRITICAL: &str = "discovery_unhealthy_services{";
const ALL: &str = "discovery_health_check_lateness_seconds_count";

/// What was observed in a span of time.
struct Observed {
    arrivals: Arrivals,
    /// The share of one processor.
    cpu: f64,
    late: f64,
}

/// Rows for a steady minute, and for the time after a pause.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let (env, targets) = (BenchEnv::new()?, Targets::start()?);
    let registry = ServedRegistry::start(&env, &["health.interval=10s".to_owned()])?;
    register(&registry, &targets)?;
    std::thread::sleep(INTERVAL * 2);
    let steady = observe(&registry, &targets, MEASURED)?;
    let mut rows = rows_of("10,000 checks every 10 s", &steady);

    registry.signal(Signal::STOP)?;
    std::thread::sleep(PAUSE);
    registry.signal(Signal::CONT)?;
    let resumed = observe(&registry, &targets, INTERVAL * 3)?;
    rows.extend(rows_of("after a stop of 30 s", &resumed));
    rows.push(row("  instances that are critical".to_owned(), critical(&registry)?, 0.0));
    Ok(rows)
}

fn register(registry: &ServedRegistry, targets: &Targets) -> Result<()> {
    let mut client = Client::connect(registry.address)?;
    for number in 0..INSTANCES {
        let url = targets.url_of(number);
        let (name, port) = (number % 1000, 20_000 + number);
        let body = format!(
            r#"{{"name": "svc-{name}", "host": "127.0.0.1", "port": {port}, "ttl": 3600, "health_url": "{url}"}}"#
        );
        client.request("POST /api/v1/services", &body)?;
    }
    Ok(())
}

fn observe(registry: &ServedRegistry, targets: &Targets, span: Duration) -> Result<Observed> {
    let (all, in_time) = lateness(registry)?;
    let cpu = process::cpu_time(registry.pid())?;
    targets.take();
    std::thread::sleep(span);
    let arrivals = targets.take();
    let cpu = (process::cpu_time(registry.pid())? - cpu).as_secs_f64() / span.as_secs_f64();
    let (all_then, in_time_then) = lateness(registry)?;
    let late = (all_then - all) - (in_time_then - in_time);
    Ok(Observed { arrivals, cpu, late })
}

/// How many checks there were, and how many began within their interval.
fn lateness(registry: &ServedRegistry) -> Result<(f64, f64)> {
    let page = registry.metrics()?;
    let value = |name: &str| -> Result<f64> {
        let line = page.lines().find_map(|line| line.strip_prefix(name));
        Ok(line.with_context(|| format!("no metric {name}"))?.trim().parse()?)
    };
    Ok((value(ALL)?, value(IN_TIME)?))
}

/// The number of critical instances.
fn critical(registry: &ServedRegistry) -> Result<f64> {
    let page = registry.metrics()?;
    let counts = page.lines().filter_map(|line| {
        let (name, count) = line.rsplit_once(' ')?;
        name.starts_with(CRITICAL).then(|| count.parse::<f64>())
    });
    Ok(counts.sum::<Result<_, _>>()?)
}

fn rows_of(when: &str, observed: &Observed) -> Vec<Row> {
    let Observed { arrivals, cpu, late } = observed;
    let longest = arrivals.longest_gap().as_secs_f64() / INTERVAL.as_secs_f64();
    let (most, mean) = arrivals.spread(WINDOW);
    vec![
        row(format!("{when}: share of one processor"), *cpu, 0.15),
        Row {
            measured: Unit::Times(most),
            baseline: Unit::Times(mean),
            ..row("  most checks in 100 ms / mean".to_owned(), most / mean, 1.5)
        },
        row("  longest time between two checks of an instance / interval".to_owned(), longest, 2.0),
        row("  checks later than their interval".to_owned(), *late, 0.0),
    ]
}

fn row(what: String, measured: f64, goal: f64) -> Row {
    let unit = Unit::Times(measured);
    let baseline = Unit::Times(f64::NAN);
    Row { what, measured: unit, baseline, compared: unit, goal: Goal::AtMost(goal), specified: "" }
}
