//! `cargo xtask bench`: how fast Portolan is, beside what the system itself allows.

use anyhow::{Result, bail};

use crate::build::Build;

/// Builds for release, or with the profile given first, then becomes the bench that is named; the
/// other arguments are parts of its table.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (profile, arguments) = match arguments.as_slice() {
        ["--profile", profile, rest @ ..] => (*profile, rest),
        rest => ("release", rest),
    };
    match arguments {
        ["ports", parts @ ..] => {
            // The command line as well: the time that `portolan run` takes is one of the figures.
            let packages = &["portolan-benches", "portolan-cli"];
            Build { profile, packages, program: "bench-ports" }.exec(parts)
        }
        [unknown, ..] => bail!("unknown bench {unknown:?}; expected `ports`"),
        [] => bail!("the name of a bench is missing; expected `cargo xtask bench ports`"),
    }
}
