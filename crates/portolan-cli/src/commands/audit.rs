//! `portolan audit`: verifies audit logs.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use portolan_audit::{Break, Verified};
use serde_json::json;

use crate::exit::{CommandResult, Exit, Failure};
use crate::global::Global;
use crate::output;

/// Options of `portolan audit`.
#[derive(Debug, Args)]
pub(crate) struct Audit {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Checks that no record was removed, changed or moved
    Verify(Verify),
}

/// Options of `portolan audit verify`.
#[derive(Debug, Args)]
struct Verify {
    /// Files of one audit log, in any order: AUDIT.jsonl and those that it was renamed to
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Audit {
    pub(crate) fn run(self, global: &Global) -> CommandResult {
        let Action::Verify(Verify { files }) = self.action;
        let verified = portolan_audit::verify(&files).map_err(|error| {
            Failure::failed(error).remedy("name files that exist and that this user can read")
        })?;
        match verified {
            Ok(verified) => print(&verified, global.json),
            Err(Break { file, line, flaw }) => {
                Err(Failure::failed(format_args!("{}:{line}: {flaw}", file.display()))
                    .remedy("find out who could write the file, and keep it as evidence"))
            }
        }
    }
}

fn print(verified: &Verified, as_json: bool) -> CommandResult {
    let Verified { records, first, last, hash } = verified;
    if as_json {
        output::json(&json!({ "records": records, "first": first, "last": last, "hash": hash }))?;
        return Ok(Exit::Done);
    }
    output::line(format_args!("{records} records verified, from {first} to {last}"))?;
    output::line(format_args!("hash of the last record: {hash}"))?;
    if *first > 1 {
        output::note("earlier records are not in these files");
    }
    Ok(Exit::Done)
}
