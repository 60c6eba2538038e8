//! `portolan store export`: writes every instance of the store as JSON lines.

use std::io::{self, BufWriter, stdout};
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use portolan_core::replace_file;
use portolan_registry::store::inspect;
use portolan_registry::transfer;
use serde_json::json;

use super::{and_settings, instances, warn};
use crate::context::Context;
use crate::exit::{CommandResult, Exit, Failure};
use crate::output;

/// Options of `portolan store export`.
#[derive(Debug, Args)]
pub(super) struct Export {
    /// File to write, which is complete or as it was [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Export {
    pub(super) async fn run(&self, context: &Context) -> CommandResult {
        let inspection = inspect(&context.settings().service_registry).await?;
        inspection.problems.iter().for_each(warn);
        let is_damaged = inspection.problems.iter().any(|problem| problem.is_damage);
        let export = transfer::Export::new(inspection, Timestamp::now());
        match &self.output {
            None => write_standard_output(&export)?,
            Some(path) => {
                write_file(&export, path).map_err(|error| {
                    Failure::failed(format_args!("cannot write {}: {error}", path.display()))
                })?;
                let count = export.records.len();
                if context.json {
                    output::json(&json!({
                        "exported": count, "settings": export.settings.len(), "file": path,
                    }))?;
                } else if !context.quiet {
                    output::note(format_args!(
                        "{}{} written to {}",
                        instances(count),
                        and_settings(export.settings.len()),
                        path.display()
                    ));
                }
            }
        }
        Ok(if is_damaged { Exit::Failed } else { Exit::Done })
    }
}

fn write_standard_output(export: &transfer::Export) -> Result<(), Failure> {
    match export.write(BufWriter::new(stdout().lock())) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|error| output::cannot_print(&error)),
    }
}

/// Writes a file that only this user can read: it has the incarnations, with which instances can be
/// deregistered.
fn write_file(export: &transfer::Export, path: &Path) -> io::Result<()> {
    replace_file(path, 0o600, |file| export.write(BufWriter::new(file)))
}
