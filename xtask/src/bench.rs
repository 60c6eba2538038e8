//! `cargo xtask bench`: benchmarks, each compared with its limit in the same run.

use anyhow::{Result, bail};

use crate::build::Build;
use crate::steps::Step;

const BENCHES: &str =
    "`ports`, `registry`, `broadcast`, `client`, `spec` or `compare BEFORE AFTER`";

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
        ["broadcast", parts @ ..] => {
            let (packages, features) = (&["portolan-benches"], &["portolan-benches/broadcast"]);
            Build { profile, packages, features, program: "bench-broadcast" }.exec(parts)
        }
        ["client", parts @ ..] => {
            let (packages, features) = (&["portolan-benches"], &["portolan-benches/client"]);
            Build { profile, packages, features, program: "bench-client" }.exec(parts)
        }
        ["spec", parts @ ..] => {
            let packages = &["portolan-benches", "portolan-cli"];
            let features = &["portolan-benches/spec", "portolan-cli/full"];
            Build { profile, packages, features, program: "bench-spec" }.exec(parts)
        }
        ["compare", before, after] => {
            let run = ["run", "--quiet", "--locked", "--package", "portolan-benches"];
            let program = ["--bin", "bench-compare", "--", before, after];
            Step::cargo("compare", &[&run[..], &program[..]].concat()).run()
        }
        [unknown, ..] => bail!("unknown bench {unknown:?}; expected {BENCHES}"),
        [] => bail!("the name of a bench is missing; expected `cargo xtask bench` and {BENCHES}"),
    }
}
