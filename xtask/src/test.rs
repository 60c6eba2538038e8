//! `cargo xtask test`: every check of the project, in the order in which they fail fastest.

use anyhow::{Result, bail};

use crate::debian;
use crate::steps::{Step, run_all};

/// Installs what is missing, then runs the checks.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            debian::install_missing()?;
            run_all(checks())
        }
        ["--list"] => {
            checks().iter().for_each(|step| println!("{}", step.shown()));
            Ok(())
        }
        _ => bail!("`cargo xtask test` takes --list or nothing, not {arguments:?}"),
    }
}

fn checks() -> Vec<Step> {
    vec![
        Step::cargo("format", &["fmt", "--all", "--check"]),
        Step::cargo(
            "clippy",
            &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
        ),
        // All targets at once, so that the programs which the tests start are built here, with the
        // same features as the tests themselves: everything is compiled once.
        Step::cargo("build", &["build", "--workspace", "--all-targets", "--locked"]),
        Step::cargo(
            "tests",
            &["test", "--workspace", "--lib", "--bins", "--tests", "--examples", "--locked"],
        ),
        Step::cargo("doc tests", &["test", "--workspace", "--doc", "--locked"]),
        Step::cargo("docs", &["doc", "--workspace", "--no-deps", "--locked"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    ]
}
