//! `cargo xtask bench`: benchmarks, compared with the bare system calls.

use anyhow::{Result, bail};

use crate::build::Build;

/// Builds in release mode, or in the profile given first, then replaces this process by the named
/// benchmark. The other arguments are parts of its report.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (profile, arguments) = match arguments.as_slice() {
        ["--profile", profile, rest @ ..] => (*profile, rest),
        rest => ("release", rest),
    };
    match arguments {
        ["ports", parts @ ..] => {
            // The report includes the start time of `portolan run`.
            let packages = &["portolan-benches", "portolan-cli"];
            Build { profile, packages, features: &[], program: "bench-ports" }.exec(parts)
        }
        ["registry", parts @ ..] => {
            // The registries of some parts are processes of their own.
            let packages = &["portolan-benches", "portolan-cli"];
            let features = &["portolan-benches/full", "portolan-cli/full"];
            Build { profile, packages, features, program: "bench-registry" }.exec(parts)
        }
        [unknown, ..] => bail!("unknown bench {unknown:?}; expected `ports` or `registry`"),
        [] => bail!("the name of a bench is missing; expected `cargo xtask bench ports|registry`"),
    }
}
