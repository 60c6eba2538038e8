//! `cargo xtask bench`: how fast Portolan is, beside what the system itself allows.

use anyhow::{Result, bail};

use crate::release::become_program;

/// Builds for release, then becomes the bench that is named first; the rest are parts of its table.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    match arguments.split_first() {
        Some((bench, parts)) if bench == "ports" => {
            // The command line as well: how fast `portolan run` starts is one of the figures.
            become_program("bench-ports", &["portolan-benches", "portolan-cli"], &[], parts)
        }
        Some((unknown, _)) => bail!("there is no bench {unknown:?}; there is ports"),
        None => bail!("`cargo xtask bench` takes the name of a bench; there is ports"),
    }
}
