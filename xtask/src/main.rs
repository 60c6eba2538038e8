//! What people run by hand: `cargo xtask up`, `test` and `bench`.
//!
//! Plain Rust and one small dependency, so that it builds in seconds on a fresh clone. It knows
//! which commands make up a check of the project, and nothing of what they check.

// A program for people at a terminal: printing is its job.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its output is for people")]

mod bench;
mod debian;
mod release;
mod steps;
mod test;
mod up;

use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask <COMMAND>

Commands:
  up [ARGS]...    builds portolan and the quickstart services for release, then runs
                  `portolan up` with the arguments given
  test            installs from Debian what the tests need and is missing (as root), then runs
                  every check of the project, the one that CI runs
  test --list     shows the checks without running them
  bench ports [PART]...
                  builds for release and prints how fast ports are allocated, beside what the
                  system itself allows in the same run; the whole table, or the parts named
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rest = arguments.get(1..).unwrap_or_default();
    let done = match arguments.first().map(String::as_str) {
        Some("up") => up::run(rest),
        Some("test") => test::run(rest),
        Some("bench") => bench::run(rest),
        Some("help" | "-h" | "--help") => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Some(unknown) => return wrong_usage(&format!("there is no command {unknown:?}")),
        None => return wrong_usage("a command is missing"),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn wrong_usage(what: &str) -> ExitCode {
    eprint!("error: {what}\n\n{USAGE}");
    ExitCode::from(2)
}
