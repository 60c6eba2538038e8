//! Benchmarks of the port allocator and the registry, compared with the system calls that have the same effect,
//! or with the same requests without other load.
//!
//! A rate by itself says more about the machine than about Portolan. So each figure is compared with a
//! *baseline*, measured in the same run in interleaved samples, so that other load on the machine
//! affects both. The result is the median of the ratios.
//!
//! The programs `bench-ports` and `bench-registry` (`cargo xtask bench ports`, `… registry`) print the reports; `cargo
//! bench` measures one process with criterion.

#![allow(clippy::disallowed_methods, reason = "no async runtime, so no paused clock")]

mod allocate;
mod attack;
#[cfg(feature = "full")]
mod balance;
mod baseline;
mod bench_env;
#[cfg(feature = "broadcast")]
mod broadcast;
#[cfg(feature = "client")]
mod client;
#[cfg(feature = "full")]
mod crash;
mod flood;
mod health;
mod interleaved;
mod kill;
#[cfg(feature = "full")]
mod load;
#[cfg(feature = "full")]
mod lookup;
mod occupied;
mod registry;
mod report;
mod reserve;
mod sample;
mod scaling;
mod served;
#[cfg(feature = "spec")]
mod spec;
mod start;
mod statistics;
mod task;
mod worker;
#[cfg(feature = "full")]
mod writes;

use std::io::{Write, stderr, stdout};
use std::path::Path;

use anyhow::{Context, Result};

pub use baseline::{Family, bound};
pub use bench_env::{BenchEnv, HELD, MEASURED, request};
#[cfg(feature = "full")]
pub use crash::{LISTEN, listen};
#[cfg(feature = "full")]
pub use lookup::{BARE, serve_bare};
pub use start::{STARTED, write_start_time};
pub use worker::run_worker;
#[cfg(feature = "full")]
pub use writes::{MAP, serve_map};

use report::{Report, Row};

/// The argument that makes this program a worker.
pub const WORKER: &str = "worker";

/// The parts of the port allocator's report by name.
const PORTS: [(&str, Part); 6] = [
    ("reserve", reserve::rows),
    ("allocate", allocate::rows),
    ("scaling", scaling::rows),
    ("occupied", occupied::rows),
    ("start", start::rows),
    ("kill", kill::rows),
];

/// The parts of the registry's report by name.
const REGISTRY: &[(&str, Part)] = &[
    #[cfg(feature = "full")]
    ("lookup", lookup::rows),
    #[cfg(feature = "full")]
    ("writes", writes::rows),
    ("durable", registry::durable),
    ("recovery", registry::recovery),
    ("flood", flood::rows),
    ("attack", attack::rows),
    #[cfg(feature = "full")]
    ("balance", balance::rows),
    ("health", health::rows),
    #[cfg(feature = "full")]
    ("crash", crash::rows),
    #[cfg(feature = "full")]
    ("etcd-peers", registry::etcd_peers),
    #[cfg(feature = "full")]
    ("etcd", registry::etcd),
];

/// The parts of the broadcast service's report by name.
#[cfg(feature = "broadcast")]
const BROADCAST: [(&str, Part); 1] = [("announce", broadcast::rows)];

/// The parts of the discovery client's report by name.
#[cfg(feature = "client")]
const CLIENT: [(&str, Part); 1] = [("cached", client::rows)];

type Part = fn() -> Result<Vec<Row>>;

/// Measures these parts of the port allocator, or all if there are none, and prints the report.
pub fn print_report(names: &[String]) -> Result<()> {
    print(&PORTS, names)
}

/// Measures these parts of the registry, or all if there are none, and prints the report.
pub fn print_registry_report(names: &[String]) -> Result<()> {
    print(REGISTRY, names)
}

/// Measures these parts of the broadcast service, or all if there are none, and prints the report.
#[cfg(feature = "broadcast")]
pub fn print_broadcast_report(names: &[String]) -> Result<()> {
    print(&BROADCAST, names)
}

/// Measures these parts of the discovery client, or all if there are none, and prints the report.
#[cfg(feature = "client")]
pub fn print_client_report(names: &[String]) -> Result<()> {
    print(&CLIENT, names)
}

/// Measures what the specification expects, and prints the report.
#[cfg(feature = "spec")]
pub fn print_spec_report(names: &[String]) -> Result<()> {
    print(&[("spec", spec::rows)], names)
}

/// Prints how the second of two reports in JSON differs from the first.
pub fn print_comparison(before: &Path, after: &Path) -> Result<()> {
    write!(stdout(), "{}", report::compare(before, after)?)?;
    Ok(())
}

/// `--json` among the names prints JSON.
fn print(parts: &[(&str, Part)], names: &[String]) -> Result<()> {
    let (options, names): (Vec<&String>, Vec<&String>) =
        names.iter().partition(|name| *name == "--json");
    let known = || parts.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    if let Some(unknown) = names.iter().find(|name| !parts.iter().any(|part| part.0 == **name)) {
        anyhow::bail!("unknown part {unknown:?}: expected {}", known());
    }
    let mut report = Report::default();
    for (name, rows) in parts {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            writeln!(stderr(), "measuring: {name}")?;
            report.extend(rows().with_context(|| format!("part {name}"))?);
        }
    }
    match options.is_empty() {
        true => write!(stdout(), "{report}")?,
        false => writeln!(stdout(), "{}", report.to_json()?)?,
    }
    Ok(())
}
