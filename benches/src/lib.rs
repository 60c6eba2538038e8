//! How fast Portolan is, beside what the system itself allows in the same run.
//!
//! A rate by itself says more about the machine than about Portolan. So each figure stands beside a
//! *limit*: the least that the system must be asked for the same effect, measured in turns with it,
//! slice by slice, so that whatever else the machine does meanwhile does it to both. What counts is
//! the median of the ratios.
//!
//! The program `bench-ports` (`cargo xtask bench ports`) prints the table; `cargo bench` asks the
//! same questions of one process with criterion.

mod allocate;
mod busy;
mod copies;
mod figures;
mod flat;
mod host;
mod kill;
mod raw;
mod reserve;
mod slice;
mod start;
mod table;
mod task;
mod turns;

use std::io::{Write, stderr, stdout};

use anyhow::{Context, Result};

pub use copies::play;
pub use host::{HELD, Host, MEASURED, wish};
pub use raw::{Family, bound};
pub use start::{STARTED, tell_start};

use table::{Row, Table};

/// The argument that makes this program a copy that takes orders.
pub const COPY: &str = "copy";

/// The parts of the table, by the names that one asks for them.
const PARTS: [(&str, Part); 6] = [
    ("reserve", reserve::rows),
    ("allocate", allocate::rows),
    ("flat", flat::rows),
    ("busy", busy::rows),
    ("start", start::rows),
    ("kill", kill::rows),
];

type Part = fn() -> Result<Vec<Row>>;

/// Measures the parts of these names, or all where none is named, and prints the table.
pub fn print_table(wanted: &[String]) -> Result<()> {
    let known = || PARTS.map(|(name, _)| name).join(", ");
    if let Some(unknown) = wanted.iter().find(|name| !PARTS.iter().any(|part| part.0 == *name)) {
        anyhow::bail!("there is no part {unknown:?}; there are {}", known());
    }
    let mut table = Table::default();
    for (name, rows) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            writeln!(stderr(), "measuring: {name}")?;
            table.extend(rows().with_context(|| format!("part {name}"))?);
        }
    }
    write!(stdout(), "{table}")?;
    Ok(())
}
