//! The files of a service: rendered from templates before its program starts, and again while it runs.

use std::path::PathBuf;

use portolan_core::ServiceName;
use portolan_process::CommandWords;
use serde::{Deserialize, Deserializer, de};

use super::error::InvalidStack;
use super::file::ServiceEntry;
use crate::StopSignal;

#[cfg(feature = "render")]
mod rendered;
#[cfg(not(feature = "render"))]
#[path = "files/not_rendered.rs"]
mod rendered;

pub(super) use rendered::RenderedFiles;

/// The placeholder of the new file in a check.
const FILE: &str = "{file}";

/// A file that is rendered from a template.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// The template, relative to the stack file.
    pub template: PathBuf,
    /// The file that is written, relative to the stack file.
    pub output: PathBuf,
    /// The command that accepts the new file, `{file}`, before it replaces the former one.
    #[serde(default, deserialize_with = "words")]
    pub check: Option<CommandWords>,
    /// The signal by which the program reads the file again after a change.
    pub signal: Option<StopSignal>,
    /// The command that runs after a change, instead of a signal.
    #[serde(default, deserialize_with = "words")]
    pub exec: Option<CommandWords>,
}

fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<CommandWords>, D::Error> {
    String::deserialize(deserializer)?.parse().map(Some).map_err(de::Error::custom)
}

/// Checks the files of a service.
pub(super) fn validate(service: &ServiceName, entry: &ServiceEntry) -> Result<(), InvalidStack> {
    let invalid = |problem| InvalidStack::Files { service: service.clone(), problem };
    if entry.files.is_empty() {
        return Ok(());
    }
    if cfg!(not(feature = "render")) {
        return Err(invalid(FilesProblem::NotBuiltIn));
    }
    if entry.instances > 1 {
        return Err(invalid(FilesProblem::Instances));
    }
    for FileEntry { output, check, signal, exec, .. } in &entry.files {
        if check.as_ref().is_some_and(|words| !words.mentions(FILE)) {
            return Err(invalid(FilesProblem::Check));
        }
        if signal.is_some() && exec.is_some() {
            return Err(invalid(FilesProblem::SignalAndExec));
        }
        if entry.files.iter().filter(|other| other.output == *output).count() > 1 {
            return Err(invalid(FilesProblem::SameOutput));
        }
    }
    Ok(())
}

/// What is wrong with the files of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilesProblem {
    /// This build has no templates.
    #[error("this portolan was built without templates")]
    NotBuiltIn,
    /// Several instances would write the same files.
    #[error("several instances would write the same file")]
    Instances,
    /// The check does not say where the new file stands.
    #[error("the check does not mention {FILE}, the new file")]
    Check,
    /// Both say what happens after a change.
    #[error("a file has both a signal and a command for its changes")]
    SignalAndExec,
    /// Two files are the same.
    #[error("two templates would write the same file")]
    SameOutput,
}

// === impl FilesProblem ===

impl FilesProblem {
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::NotBuiltIn => "use the packaged release, or build it with `--features full`",
            Self::Instances => "use one instance, or a service for each file",
            Self::Check => "write {file} where the path of the new file belongs",
            Self::SignalAndExec => "remove one of them",
            Self::SameOutput => "give each template an output of its own",
        }
    }
}
