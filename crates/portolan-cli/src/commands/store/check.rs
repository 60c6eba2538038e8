//! `portolan store check`: reads the store, or a file of an export, and reports damage.

use std::path::PathBuf;

use clap::Args;
use portolan_registry::store::{Inspection, inspect};
use serde_json::json;

use super::{and_settings, import, instances, warn};
use crate::context::Context;
use crate::exit::{CommandResult, Exit};
use crate::output;

/// Options of `portolan store check`.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// File of an export to check instead of the store; - is standard input
    file: Option<PathBuf>,
}

impl Check {
    pub(super) async fn run(&self, context: &Context) -> CommandResult {
        match &self.file {
            Some(file) => {
                let export = import::read(file)?;
                let (count, settings) = (export.records.len(), export.settings.len());
                match context.json {
                    true => output::json(&json!({
                        "file": file, "instances": count, "settings": settings,
                    }))?,
                    false => output::line(format_args!(
                        "{} is complete: {}{}",
                        file.display(),
                        instances(count),
                        and_settings(settings)
                    ))?,
                }
                Ok(Exit::Done)
            }
            None => report(&inspect(&context.settings().service_registry).await?, context),
        }
    }
}

fn report(inspection: &Inspection, context: &Context) -> CommandResult {
    let Inspection { store, location, revision, records, settings, servers, problems } = inspection;
    if context.json {
        output::json(&json!({
            "store": store, "location": location, "revision": revision, "instances": records.len(),
            "settings": settings.len(),
            "servers": servers, "problems": problems,
        }))?;
    } else {
        problems.iter().for_each(warn);
        let used = match servers.as_slice() {
            [] => "no server uses it".to_owned(),
            servers => format!("used by {}", servers.join(", ")),
        };
        output::line(format_args!(
            "{store} at {location}: {}{}, revision {revision}, {used}",
            instances(records.len()),
            and_settings(settings.len())
        ))?;
    }
    let is_damaged = problems.iter().any(|problem| problem.is_damage);
    Ok(if is_damaged { Exit::Failed } else { Exit::Done })
}
