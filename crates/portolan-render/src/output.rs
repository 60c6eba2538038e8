//! The rendered file: replaced as a whole, only if it differs, and only if a command accepts it.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use portolan_core::plain::escaped;
use portolan_core::replace_file;
use portolan_process::CommandWords;

use crate::RenderError;
use crate::place::Place;
use crate::run_on::run_on;

/// How long the command may take that checks a new file.
const CHECK_LIMIT: Duration = Duration::from_secs(30);
/// The permission bits of a file that is new, less those of the umask.
const NEW_FILE: u32 = 0o666;

/// A file that is replaced as a whole.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    mode: Option<u32>,
    check: Option<CommandWords>,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It has this text already.
    Unchanged,
    /// It was written.
    Written,
}

// === impl OutputFile ===

impl OutputFile {
    /// Creates the description of a file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), mode: None, check: None }
    }

    /// Sets the permission bits. Default: those of the file that is replaced, or else 0666 less the umask.
    pub fn mode(self, mode: impl Into<Option<u32>>) -> Self {
        Self { mode: mode.into(), ..self }
    }

    /// Sets the command that checks the new file, whose path is in the place of `{file}`, before it replaces the former one.
    pub fn check(self, check: impl Into<Option<CommandWords>>) -> Self {
        Self { check: check.into(), ..self }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the text if the file has another one.
    pub(crate) async fn write(&self, text: &str) -> Result<Outcome, RenderError> {
        // A link stays one: its target is replaced.
        let place = Place::of(&self.path).map_err(RenderError::place(&self.path))?;
        let path = place.path();
        let former = place.open().map_err(RenderError::place(path))?;
        let former = match former {
            Some(file) => match has_text(&file, text).map_err(RenderError::file(path))? {
                (true, _) => return Ok(Outcome::Unchanged),
                (false, former) => Some(former),
            },
            None => None,
        };
        if let Some(command) = &self.check {
            self.accepted_by(command, &place, text).await?;
        }
        let mode = self.mode.or(former.as_ref().map(|it| it.mode() & 0o7777));
        let replaced = replace_file(&place.entry(place.name()), mode.unwrap_or(NEW_FILE), |file| {
            if let Some(mode) = mode {
                file.set_permissions(Permissions::from_mode(mode))?;
            }
            if let Some(former) = &former {
                keep_owner(file, former)?;
            }
            write_all(file, text)
        });
        replaced.map_err(RenderError::file(path))?;
        Ok(Outcome::Written)
    }

    /// Writes the text into a file beside the output, so that relative paths in it mean the same, and runs the command.
    async fn accepted_by(
        &self,
        command: &CommandWords,
        place: &Place,
        text: &str,
    ) -> Result<(), RenderError> {
        let candidate = Candidate::beside(place);
        let mode = self.mode.unwrap_or(0o600);
        replace_file(&candidate.entry, mode, |file| write_all(file, text))
            .map_err(RenderError::file(&candidate.path))?;
        let reason = match run_on(command, &candidate.path, CHECK_LIMIT).await {
            Ok(finished) if finished.status.success() => return Ok(()),
            Ok(finished) => {
                let output = String::from_utf8_lossy(&finished.output);
                format!("{}\n{}", finished.status, escaped(output.trim()))
            }
            Err(reason) => reason,
        };
        Err(RenderError::Rejected { command: command.to_string(), path: self.path.clone(), reason })
    }
}

/// The file that a command checks, which is removed when it is dropped.
struct Candidate {
    entry: PathBuf,
    /// Its path for the command.
    path: PathBuf,
}

impl Candidate {
    /// A name with the extension of the output, by which some programs choose the format. It is random: a process id is not
    /// unique among containers that share a volume.
    fn beside(place: &Place) -> Self {
        let name = format!(".{:016x}.{}", rand::random::<u64>(), place.name().to_string_lossy());
        Self { entry: place.entry(name.as_ref()), path: place.path().with_file_name(name) }
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        _ = fs::remove_file(&self.entry);
    }
}

/// Whether the file has this text, and what else is known of it. No more is read than the text has.
fn has_text(file: &File, text: &str) -> io::Result<(bool, Metadata)> {
    let metadata = file.metadata()?;
    if metadata.len() != text.len() as u64 {
        return Ok((false, metadata));
    }
    let mut former = Vec::with_capacity(text.len());
    file.take(text.len() as u64).read_to_end(&mut former)?;
    Ok((former == text.as_bytes(), metadata))
}

fn write_all(mut file: &File, text: &str) -> io::Result<()> {
    file.write_all(text.as_bytes())
}

/// Gives a new file the owner of the former one, which only root can do if they differ.
fn keep_owner(file: &File, former: &Metadata) -> io::Result<()> {
    let new = file.metadata()?;
    if (new.uid(), new.gid()) == (former.uid(), former.gid()) {
        return Ok(());
    }
    std::os::unix::fs::fchown(file, Some(former.uid()), Some(former.gid()))
}

#[cfg(test)]
mod tests;
