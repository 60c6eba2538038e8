//! The configuration file: which one is used, and whether it may be used.
//!
//! A file that is found, and not named, may have been put there by somebody else: in a folder that everybody can write to,
//! or in a repository that was downloaded. The first is refused. The second is used, but does not decide where a secret
//! of this user goes (see `destinations`).

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use portolan_config_manager::MAX_FILE_SIZE;
use portolan_core::shell_word;
use portolan_host_facts::directories;
use rustix::fs::{Mode, OFlags};

use crate::exit::Failure;
use crate::trust::{TrustStore, Trusted};

/// The default name of the configuration file.
pub(crate) const FILE: &str = "portolan.yaml";

/// The configuration file.
#[derive(Debug, Clone)]
pub(crate) struct ConfigFile {
    pub(crate) path: PathBuf,
    /// What was read when the file was checked; `None` if it was named and is not checked.
    pub(crate) contents: Option<Vec<u8>>,
    /// How it was found.
    pub(crate) place: Place,
}

/// How a configuration file was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It was named, by a flag or the environment.
    Named,
    /// It lies in the working directory or above it.
    Folder,
    /// It is the file of this user.
    User,
}

// === impl ConfigFile ===

impl ConfigFile {
    /// Returns the named file, else the one of the working directory, else that of the nearest directory above it, else the one of
    /// this user.
    pub(crate) fn find(named: Option<PathBuf>) -> Result<Option<Self>, Failure> {
        if let Some(path) = named {
            return Ok(Some(Self { path, contents: None, place: Place::Named }));
        }
        let of_user = user_directory().map(|directory| (directory.join(FILE), Place::User));
        let own = [PathBuf::from(FILE)].into_iter().chain(above_working_directory());
        let places = own.map(|path| (path, Place::Folder)).chain(of_user);
        let found = places.into_iter().find(|(path, _)| path.is_file());
        found.map(|(path, place)| Self::read(path, place)).transpose()
    }

    /// Reads the file again. It must exist and have contents: an editor may have removed or emptied it, and not written it yet.
    pub(crate) fn again(&self) -> Result<Self, Failure> {
        let path = self.path.display();
        let unreadable = |error| {
            Failure::usage(format_args!("cannot read the configuration file {path}: {error}"))
        };
        if !self.path.metadata().map_err(unreadable)?.is_file() {
            return Err(Failure::usage(format_args!("{path} is no file that can be read again")));
        }
        let again = match self.place {
            Place::Named => {
                let mut contents = Vec::new();
                let file = File::open(&self.path).map_err(unreadable)?;
                file.take(MAX_FILE_SIZE + 1).read_to_end(&mut contents).map_err(unreadable)?;
                Self { contents: Some(contents), ..self.clone() }
            }
            place => Self::read(self.path.clone(), place)?,
        };
        // What was read counts: the file may have other contents by now.
        if again.contents.as_ref().is_some_and(Vec::is_empty) {
            return Err(Failure::usage(format_args!("the configuration file {path} is empty"))
                .remedy("write settings, or a comment if there are none"));
        }
        Ok(again)
    }

    /// Whether its settings may say where the secrets of this user go.
    pub(crate) fn may_direct_secrets(&self) -> bool {
        self.place != Place::Folder || self.is_trusted()
    }

    /// Reads the file and checks who can change it.
    pub(crate) fn read(path: PathBuf, place: Place) -> Result<Self, Failure> {
        let unreadable = |error: &dyn std::fmt::Display| {
            let path = path.display();
            Failure::usage(format_args!("cannot read the configuration file {path}: {error}"))
                .remedy("check that the file is readable, or name another one with --config")
        };
        // A pipe must not block. What is checked is what is read.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let open = rustix::fs::open(&path, flags, Mode::empty());
        let file = File::from(open.map_err(|error| unreadable(&error))?);
        let metadata = file.metadata().map_err(|error| unreadable(&error))?;
        let mut contents = Vec::new();
        let read = file.take(MAX_FILE_SIZE + 1).read_to_end(&mut contents);
        read.map_err(|error| unreadable(&error))?;
        let found = Self { path, contents: Some(contents), place };
        match found.problem(&metadata) {
            Some(problem) if !found.is_trusted() => Err(found.refused(&problem)),
            _ => Ok(found),
        }
    }

    fn is_trusted(&self) -> bool {
        self.trust() == Trusted::Yes
    }

    /// A record that cannot be read counts as none.
    fn trust(&self) -> Trusted {
        let contents = self.contents.as_deref().unwrap_or_default();
        match TrustStore::open() {
            Ok(Some(store)) => store.get(&self.path, contents),
            _ => Trusted::No,
        }
    }

    /// Returns who could have changed the file, if that is neither this user nor root.
    fn problem(&self, metadata: &Metadata) -> Option<String> {
        if let Some(problem) = changeable_by_others(metadata, false) {
            return Some(format!("it {problem}"));
        }
        let folder = self.path.canonicalize().ok()?;
        let folder = folder.parent().unwrap_or(Path::new("/")).to_owned();
        let problem = changeable_by_others(&folder.metadata().ok()?, true)?;
        Some(format!("its folder {} {problem}", folder.display()))
    }

    fn refused(&self, problem: &str) -> Failure {
        let path = self.path.display();
        let changed = match self.trust() {
            Trusted::Changed => " and has changed since it was trusted",
            _ => "",
        };
        let word = shell_word(&self.path);
        Failure::usage(format_args!(
            "the configuration file {path} is not used: {problem}{changed}, so another user decides what it says"
        ))
        .remedy(format!(
            "read it, then run `portolan trust {word}`; or run the command in another folder, or name a file with --config"
        ))
    }
}

/// Returns who can change a file or folder beside this user and root. In a sticky folder only the owner of a file can
/// replace it.
fn changeable_by_others(metadata: &Metadata, is_folder: bool) -> Option<String> {
    let (owner, mode) = (metadata.uid(), metadata.mode());
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let is_sticky = is_folder && mode & 0o1000 != 0;
    if owner != user && owner != 0 && !is_sticky {
        return Some(format!("belongs to user {owner}"));
    }
    // Many systems give each user a group of their own, and files that it can write to.
    let is_group_writable = mode & 0o020 != 0 && metadata.gid() != group;
    let is_writable = mode & 0o002 != 0 || is_group_writable;
    (is_writable && !is_sticky)
        .then(|| format!("can be changed by other users (mode {:04o})", mode & 0o7777))
}

/// Returns the file of each directory above the working directory, up to the home directory of this user. A directory that
/// other users can change ends the search: one of them could decide what every command below it does.
fn above_working_directory() -> Vec<PathBuf> {
    let Ok(working) = std::env::current_dir() else { return Vec::new() };
    let home = std::env::var_os("HOME").map(PathBuf::from);
    files_above(&working, home.as_deref())
}

fn files_above(working: &Path, home: Option<&Path>) -> Vec<PathBuf> {
    let is_home = |directory: &Path| home == Some(directory);
    let below_home = working.ancestors().take_while(|directory| !is_home(directory)).count();
    let is_safe = |directory: &&Path| {
        let metadata = directory.metadata().ok();
        metadata.is_some_and(|it| changeable_by_others(&it, false).is_none())
    };
    let above = working.ancestors().take(below_home + 1).skip(1).take_while(is_safe);
    above.map(|directory| directory.join(FILE)).collect()
}

fn user_directory() -> Option<PathBuf> {
    let config = directories::config_home()?;
    Some(config.join("portolan"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_ends_at_the_home_directory() {
        let root = tempfile::tempdir().unwrap();
        let (home, src) = (root.path().join("home"), root.path().join("home/src/deep"));
        std::fs::create_dir_all(&src).unwrap();
        let found = |home: Option<&Path>| files_above(&src, home);
        let expected = [home.join("src").join(FILE), home.join(FILE)];
        assert_eq!(found(Some(&home)), expected);
        // Elsewhere it goes on to the root, or to a directory that others can change.
        assert!(found(Some(Path::new("/elsewhere"))).contains(&root.path().join(FILE)));
        assert_eq!(files_above(&home, Some(&home)), Vec::<PathBuf>::new());
    }
}
