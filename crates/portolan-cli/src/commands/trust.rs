//! `portolan trust`: which configuration files of other folders this user trusts.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use portolan_config_manager::MAX_FILE_SIZE;
use serde_json::json;

use crate::config_file::FILE;
use crate::exit::{CommandResult, Exit, Failure};
use crate::global::Global;
use crate::output;
use crate::trust::{TrustRecord, TrustStore};

/// Options of `portolan trust`.
#[derive(Debug, Args)]
pub(crate) struct Trust {
    /// Configuration file, or the folder of a portolan.yaml
    #[arg(value_name = "FILE|DIR", required_unless_present = "list")]
    file: Option<PathBuf>,
    /// No longer trust the file
    #[arg(long, requires = "file")]
    revoke: bool,
    /// List the trusted files
    #[arg(long, conflicts_with_all = ["file", "revoke"])]
    list: bool,
}

pub(crate) const AFTER_HELP: &str = "\
A portolan.yaml in the working directory that another user can change is not used unless it is trusted. One that only \
this user can change is used, but a token or key of this user is sent to the addresses in it only if it is trusted. A file \
is trusted with what it says now; after a change it must be trusted again.";

// === impl Trust ===

impl Trust {
    pub(crate) fn run(self, global: &Global) -> CommandResult {
        let store = TrustStore::open()
            .map_err(|error| Failure::from_error(Exit::Failed, &error))?
            .ok_or_else(|| {
                Failure::failed("there is no directory for the record of trusted files")
                    .remedy("set HOME or XDG_STATE_HOME")
            })?;
        match self.file {
            None => list(&store, global),
            Some(file) if self.revoke => revoke(&store, &file_in(file), global),
            Some(file) => add(&store, &file_in(file), global),
        }
    }
}

/// A folder stands for its file.
fn file_in(file: PathBuf) -> PathBuf {
    if file.is_dir() { file.join(FILE) } else { file }
}

fn add(store: &TrustStore, file: &Path, global: &Global) -> CommandResult {
    let contents = read(file).map_err(|error| {
        Failure::usage(format_args!("cannot read {}: {error}", file.display()))
            .remedy("name a configuration file, or the folder of a portolan.yaml")
    })?;
    let record = store.add(file, &contents).map_err(|error| cannot_record(&error))?;
    match global.json {
        true => output::json(&record)?,
        false => output::line(format_args!("{} is trusted until it changes", record.path))?,
    }
    Ok(Exit::Done)
}

/// Reads a file that may be anything, such as a device without an end.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    fs::File::open(file)?.take(MAX_FILE_SIZE + 1).read_to_end(&mut contents)?;
    match contents.len() as u64 > MAX_FILE_SIZE {
        true => Err(io::Error::other(format!("it is larger than {MAX_FILE_SIZE} bytes"))),
        false => Ok(contents),
    }
}

fn revoke(store: &TrustStore, file: &Path, global: &Global) -> CommandResult {
    if !store.remove(file).map_err(|error| cannot_record(&error))? {
        return Err(Failure::failed(format_args!("{} is not trusted", file.display()))
            .remedy("name a file that `portolan trust --list` shows"));
    }
    match global.json {
        true => output::json(&json!({ "revoked": file }))?,
        false => output::line(format_args!("{} is no longer trusted", file.display()))?,
    }
    Ok(Exit::Done)
}

fn list(store: &TrustStore, global: &Global) -> CommandResult {
    let records = store.list().map_err(|error| cannot_record(&error))?;
    if global.json {
        output::json(&json!({ "trusted": records }))?;
        return Ok(Exit::Done);
    }
    let mut table = output::table(["FILE", "SINCE", "SHA-256"]);
    for TrustRecord { path, sha256, since } in records {
        table.add_row([path, since.to_string(), sha256]);
    }
    output::line(table.trim_fmt())?;
    Ok(Exit::Done)
}

fn cannot_record(error: &std::io::Error) -> Failure {
    Failure::failed(format_args!("cannot use the record of trusted files: {error}"))
        .remedy("set XDG_STATE_HOME to a directory of your own")
}
