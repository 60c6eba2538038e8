//! `cargo xtask test`: every check of the project; those that fail fastest come first.

use anyhow::{Result, bail};

use crate::build::target_directory;
use crate::steps::{Step, run_all};
use crate::{
    advisories, cargo_deny, debian, helm, kubernetes, node_packages, other_releases,
    python_packages, tools,
};

/// Installs the missing programs, then runs the checks.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            install_programs()?;
            run_all(checks()?)
        }
        ["--list"] => {
            checks()?.iter().for_each(|step| println!("{}", step.shown()));
            Ok(())
        }
        _ => bail!("unknown arguments {arguments:?}; expected --list or nothing"),
    }
}

/// Installs the missing programs that the tests start.
pub(crate) fn install_programs() -> Result<()> {
    debian::install_missing()?;
    other_releases::install_missing()?;
    python_packages::install_missing()?;
    node_packages::install_missing()?;
    helm::install_missing()?;
    kubernetes::install_missing()
}

/// The features that a release has.
const FEATURES: &str = "--features=portolan-cli/full,portolan-tests/full,portolan-benches/full";

/// Most tests wait for programs and networks more than they compute.
fn test_threads() -> String {
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    (2 * processors).to_string()
}

fn checks() -> Result<Vec<Step>> {
    let path = tools::search_path()?;
    let fuzz = target_directory()?.join("fuzz");
    Ok(vec![
        Step::cargo("format", &["fmt", "--all", "--check"]),
        cargo_deny::step()?,
        advisories::step()?,
        Step::cargo(
            "clippy",
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                FEATURES,
                "--locked",
                "--",
                "-D",
                "warnings",
            ],
        ),
        // They have a workspace of their own, in which nothing else would notice that a decoder has changed.
        Step::cargo("fuzz targets", &["check", "--manifest-path", "fuzz/Cargo.toml", "--locked"])
            .env("CARGO_TARGET_DIR", fuzz)
            .env("RUSTFLAGS", "--cfg fuzzing"),
        // All targets at once: the programs that the tests start get the same features as the
        // tests, so that each crate is compiled once.
        Step::cargo("build", &["build", "--workspace", "--all-targets", FEATURES, "--locked"]),
        Step::cargo(
            "tests",
            &[
                "test",
                "--workspace",
                "--lib",
                "--bins",
                "--tests",
                "--examples",
                FEATURES,
                "--locked",
            ],
        )
        .env("PATH", path)
        .env("RUST_TEST_THREADS", test_threads()),
        Step::cargo("doc tests", &["test", "--workspace", "--doc", FEATURES, "--locked"]),
        Step::cargo("docs", &["doc", "--workspace", "--no-deps", FEATURES, "--locked"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    ])
}
