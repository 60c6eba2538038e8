//! `portolan doctor`: checks this host and the configuration for common problems.
//!
//! A check only reads; like every command, it may create the runtime and state directories. To add
//! a check, add its file to `doctor/` and a row to [`CHECKS`].

mod browser_blocked;
mod clock;
mod container;
mod default_ports;
mod directories;
mod ephemeral_overlap;
mod ephemeral_usage;
mod finding;
mod interfaces;
mod ipv6;
mod multicast;
mod name_resolution;
mod open_files;
mod pool_helpers;
mod pool_overlap;
mod privileged_ports;
mod registry;
mod reservation_table;
mod sandbox;
mod settings;
mod storage;

use clap::Args;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::json;

use crate::context::Context;
use crate::exit::{CommandResult, Exit, Failure};
use crate::output;

use finding::{Finding, Severity};

pub(crate) const AFTER_HELP: &str = "\
Each finding is ok, a warning or an error, with its evidence and a remedy. The exit status is 1 if \
there is an error, else 0. Nothing is changed. A query for a made-up service is sent on each interface \
of the broadcast channel; nothing else is sent on a network unless discovery.registry_url or discovery.dns \
names it.";

/// Options of `portolan doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Show only warnings and errors
    #[arg(long)]
    problems: bool,
}

/// One row of the table of checks.
struct Check {
    /// Its name, which is the name of its file.
    name: &'static str,
    /// Returns at least one finding, unless another check reports the cause.
    run: for<'a> fn(&'a Context) -> BoxFuture<'a, Vec<Finding>>,
}

/// Every check, in order: a check comes after those that it depends on.
const CHECKS: [Check; 19] = [
    settings::CHECK,
    directories::CHECK,
    reservation_table::CHECK,
    pool_overlap::CHECK,
    ephemeral_overlap::CHECK,
    browser_blocked::CHECK,
    privileged_ports::CHECK,
    default_ports::CHECK,
    ephemeral_usage::CHECK,
    open_files::CHECK,
    ipv6::CHECK,
    interfaces::CHECK,
    multicast::CHECK,
    registry::CHECK,
    storage::CHECK,
    sandbox::CHECK,
    container::CHECK,
    clock::CHECK,
    name_resolution::CHECK,
];

/// A finding with the name of its check.
#[derive(Serialize)]
struct Reported {
    check: &'static str,
    #[serde(flatten)]
    finding: Finding,
}

// === impl Doctor ===

impl Doctor {
    pub(crate) async fn run(self, context: &Context) -> CommandResult {
        let mut all = Vec::new();
        for Check { name: check, run } in CHECKS {
            for finding in run(context).await {
                let shown = !self.problems || finding.severity != Severity::Ok;
                // Printed at once: some checks wait for a response.
                if shown && !context.json {
                    output::line(finding.to_text(check))?;
                }
                all.push(Reported { check, finding });
            }
        }
        let count = |severity| all.iter().filter(|it| it.finding.severity == severity).count();
        let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
        if self.problems {
            all.retain(|reported| reported.finding.severity != Severity::Ok);
        }
        summarize(context, &all, errors, warnings)?;
        Ok(if errors == 0 { Exit::Done } else { Exit::Failed })
    }
}

fn summarize(
    context: &Context,
    findings: &[Reported],
    errors: usize,
    warnings: usize,
) -> Result<(), Failure> {
    if context.json {
        return output::json(
            &json!({ "findings": findings, "errors": errors, "warnings": warnings }),
        );
    }
    if !context.quiet {
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        output::note(format_args!(
            "{errors} error{}, {warnings} warning{}",
            plural(errors),
            plural(warnings)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_names_are_unique() {
        let mut names = CHECKS.map(|check| check.name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }
}
