//! `portolan doctor`: checks what usually goes wrong on a host, and says how to mend it.
//!
//! A check looks and reports; it changes nothing but for making the folders that every command
//! makes. To add one, write its file beside this one, and its row in [`CHECKS`].

mod clock;
mod connections;
mod defaults;
mod ephemeral;
mod finding;
mod folders;
mod forbidden;
mod interfaces;
mod ipv6;
mod multicast;
mod names;
mod open_files;
mod overlaps;
mod pools;
mod privileged;
mod registry;
mod settings;
mod table;

use clap::Args;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::json;

use crate::context::Context;
use crate::exit::{Ending, Exit, Failure};
use crate::output;

use finding::{Finding, Severity};

pub(crate) const AFTER_HELP: &str = "\
Every finding is ok, a warning or an error, with what was seen and what to do. Exit status 0 where \
there is no error, 1 where there is one. Nothing is changed, and nothing is sent on a network that \
broadcast.interface, discovery.registry_url or discovery.dns does not name.";

/// Options of `portolan doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Shows warnings and errors only
    #[arg(long)]
    problems: bool,
}

/// One row of the table of checks.
struct Check {
    /// What it is about, in a word or two.
    name: &'static str,
    /// Looks, and reports at least one finding, unless another check has the reason already.
    run: for<'a> fn(&'a Context) -> BoxFuture<'a, Vec<Finding>>,
}

/// Every check, in order: what the later ones stand on comes first.
const CHECKS: [Check; 16] = [
    settings::CHECK,
    folders::CHECK,
    table::CHECK,
    overlaps::CHECK,
    ephemeral::CHECK,
    forbidden::CHECK,
    privileged::CHECK,
    defaults::CHECK,
    connections::CHECK,
    open_files::CHECK,
    ipv6::CHECK,
    interfaces::CHECK,
    multicast::CHECK,
    registry::CHECK,
    clock::CHECK,
    names::CHECK,
];

/// A finding with the check that it comes from.
#[derive(Serialize)]
struct Reported {
    check: &'static str,
    #[serde(flatten)]
    finding: Finding,
}

// === impl Doctor ===

impl Doctor {
    pub(crate) async fn run(self, context: &Context) -> Ending {
        let mut all = Vec::new();
        for Check { name: check, run } in CHECKS {
            for finding in run(context).await {
                let shown = !self.problems || finding.severity != Severity::Ok;
                // Each as soon as it is known: some checks wait for an answer.
                if shown && !context.json {
                    output::line(finding.for_people(check))?;
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
    fn every_check_has_a_name_of_its_own() {
        let mut names = CHECKS.map(|check| check.name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }
}
