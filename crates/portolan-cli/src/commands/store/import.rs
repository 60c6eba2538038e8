//! `portolan store import`: stores the instances of an export that the store does not have.

use std::fs::File;
use std::io::{BufReader, stdin};
use std::path::{Path, PathBuf};

use clap::Args;
use portolan_core::Remedy as _;
use portolan_registry::transfer::{Export, ImportReport, import};
use serde_json::json;

use super::{and_settings, instances};
use crate::context::Context;
use crate::exit::{CommandResult, Exit, Failure};
use crate::output;

/// Options of `portolan store import`.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// File that `portolan store export` has written; - is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
}

impl Import {
    pub(super) async fn run(self, context: &Context) -> CommandResult {
        let file = self.file.clone();
        // Standard input may take any time; the command is ended by a signal meanwhile.
        let export = tokio::task::spawn_blocking(move || read(&file));
        let export = export.await.map_err(Failure::failed)??;
        let config = &context.settings().service_registry;
        let report = import(config, export).await?;
        let ImportReport { imported, existing, refused, ended, .. } = report;
        let (settings, settings_existing) = (report.settings_imported, report.settings_existing);
        if context.json {
            let refused: Vec<_> = refused
                .iter()
                .map(|(id, error)| json!({ "id": id, "reason": error.to_string() }))
                .collect();
            output::json(&json!({
                "imported": imported, "existing": existing, "refused": refused,
                "settings": {
                    "imported": settings, "existing": settings_existing,
                    "refused": report.settings_refused.iter().map(|(key, error)| json!({
                        "name": key.name, "scope": key.scope, "reason": error.to_string(),
                    })).collect::<Vec<_>>(),
                },
                "ended": ended.as_ref().map(ToString::to_string),
            }))?;
        } else {
            for (_, error) in &refused {
                output::warning(error.with_remedy());
            }
            for (_, error) in &report.settings_refused {
                output::warning(error.with_remedy());
            }
            let store = config.storage_backend.as_str();
            output::line(format_args!(
                "{}{} imported into {store}; {} were there already",
                instances(imported),
                and_settings(settings),
                existing + settings_existing
            ))?;
        }
        match ended {
            Some(error) => Err(Failure::from_error(Exit::Failed, &error)),
            None if refused.is_empty() && report.settings_refused.is_empty() => Ok(Exit::Done),
            None => Ok(Exit::Failed),
        }
    }
}

/// Reads an export.
pub(super) fn read(file: &Path) -> Result<Export, Failure> {
    if file == Path::new("-") {
        return Ok(Export::read(stdin().lock())?);
    }
    let opened = File::open(file)
        .map_err(|error| Failure::usage(format_args!("cannot read {}: {error}", file.display())))?;
    Export::read(BufReader::new(opened)).map_err(|error| {
        let failure = Failure::from(error);
        Failure { message: format!("{}: {}", file.display(), failure.message), ..failure }
    })
}
