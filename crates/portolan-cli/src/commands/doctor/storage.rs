//! Whether the store of a registry server on this host can be read, and what is wrong in it.

use futures_util::FutureExt as _;
use portolan_registry::store::{InspectError, Inspection, inspect};

use super::Check;
use super::finding::Finding;
use crate::context::Context;

pub(super) const CHECK: Check = Check { name: "storage", run: |context| check(context).boxed() };

/// The number of problems that are shown.
const SHOWN: usize = 5;

async fn check(context: &Context) -> Vec<Finding> {
    let config = &context.settings().service_registry;
    match inspect(config).await {
        Ok(inspection) => findings(&inspection),
        Err(InspectError::NothingKept(_)) => vec![Finding::ok(
            "a registry server on this host keeps its endpoints in its process",
            "service_registry.data_dir is not set; services register again after a restart",
        )],
        // The first server creates it.
        Err(InspectError::DataDir(_)) if is_missing(config.data_dir.as_deref()) => {
            vec![Finding::ok(
                "a registry server on this host has not started yet",
                "no data directory",
            )]
        }
        // Reported by the check of the settings.
        Err(InspectError::Config(_)) => Vec::new(),
        Err(error) => {
            vec![Finding::from_failure("the registry's store cannot be read", &error.into())]
        }
    }
}

fn is_missing(path: Option<&std::path::Path>) -> bool {
    path.is_some_and(|path| path.try_exists().is_ok_and(|exists| !exists))
}

fn findings(inspection: &Inspection) -> Vec<Finding> {
    let Inspection { store, location, records, problems, .. } = inspection;
    let count = records.len();
    let readable = Finding::ok(
        "the registry's store can be read",
        format_args!("{store} at {location}, {count} instances"),
    );
    let problems = problems.iter().take(SHOWN).map(|problem| {
        let evidence = format_args!("{}: {}", problem.place, problem.problem);
        Finding::warning("the registry's store has a problem", evidence, &problem.remedy)
    });
    [readable].into_iter().chain(problems).collect()
}
