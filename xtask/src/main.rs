//! The project's own commands: `cargo xtask up`, `test`, `programs`, `kubernetes`, `image`, `bench`, `sbom` and `reproducible`.
//!
//! It has one small dependency, so that it builds in seconds on a fresh clone.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line program prints")]
#![allow(clippy::disallowed_methods, reason = "no async runtime, so no paused clock")]

mod advisories;
mod apt;
mod bench;
mod build;
mod cargo_deny;
mod debian;
mod helm;
mod image;
mod kubernetes;
mod node_packages;
mod other_releases;
mod python_packages;
mod reproducible;
mod steps;
mod test;
mod tools;
mod up;

use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask <COMMAND>

Commands:
  up [ARGS]...    build portolan and the quickstart services in the profile `quickstart`, then run
                  `portolan up` with the given arguments
  test            install the Debian packages that the tests need (as root), then run every check
                  of the project, as CI does
  test --list     print the checks without running them
  programs        install the programs that the tests start, without running them
  kubernetes build
                  build the API server of Kubernetes that the tests start, from the source packages of Debian
  image [--profile PROFILE] [--prebuilt DIR] [--base IMAGE] [--tag TAG]
                  build for release, or in another profile, or take the programs in DIR, and make the image of
                  packaging/docker/Dockerfile from them
  bench [--profile PROFILE] ports|registry|broadcast|client|spec [PART]... [--json]
                  build for release, or in another profile, and print how fast it is, beside what
                  the system itself allows in the same run, or for `spec` what the specification
                  expects: the whole table, or the named parts
  bench compare BEFORE AFTER
                  compare two reports that --json has written
  sbom            print the software bill of materials of a release, as CycloneDX in JSON
  reproducible [--profile PROFILE]
                  build the last commit twice in different directories, for release or in another
                  profile, and compare the programs
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rest = arguments.get(1..).unwrap_or_default();
    let result = match arguments.first().map(String::as_str) {
        Some("up") => up::run(rest),
        Some("test") => test::run(rest),
        Some("programs") => test::install_programs(),
        Some("kubernetes") => kubernetes::run(rest),
        Some("image") => image::run(rest),
        Some("bench") => bench::run(rest),
        Some("sbom") => sbom(rest),
        Some("reproducible") => reproducible::run(rest),
        Some("help" | "-h" | "--help") => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Some(unknown) => return usage_error(&format!("unknown command {unknown:?}")),
        None => return usage_error("a command is missing"),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a program of its own, which reads JSON: this one is to build in seconds.
fn sbom(arguments: &[String]) -> anyhow::Result<()> {
    anyhow::ensure!(arguments.is_empty(), "unknown arguments {arguments:?}; expected nothing");
    let arguments = ["run", "--quiet", "--locked", "--package", "portolan-sbom"];
    steps::Step::cargo("sbom", &arguments).run()
}

fn usage_error(what: &str) -> ExitCode {
    eprint!("error: {what}\n\n{USAGE}");
    ExitCode::from(2)
}
