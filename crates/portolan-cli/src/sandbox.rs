//! Restricts this process to the directories that it writes to (landlock(7)), so that a fault in the server changes no other file,
//! and starts no program. Reading stays as it is.
//!
//! It holds for the threads that are started afterwards, so it precedes the runtime.

use std::path::PathBuf;

/// How far the process is restricted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restriction {
    /// To its directories.
    #[cfg(feature = "full")]
    Full,
    /// To its directories, except for operations that this kernel cannot restrict.
    #[cfg(feature = "full")]
    Partial,
    /// Not at all: the kernel lacks it, or this version was built without it.
    None,
}

#[cfg(feature = "full")]
mod kernel {
    use std::path::PathBuf;

    use landlock::{
        ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd,
        Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus,
        make_bitflags,
    };

    use super::Restriction;

    /// What the server does in its directories.
    const WRITES: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
        WriteFile | Truncate | RemoveFile | RemoveDir | MakeReg | MakeDir | MakeSock | Refer
    });

    pub(crate) fn restrict(directories: &[PathBuf]) -> Result<Restriction, RulesetError> {
        let handled = AccessFs::from_write(ABI::V3) | AccessFs::Execute;
        let mut ruleset = Ruleset::default().handle_access(handled)?.create()?;
        for directory in directories {
            // What cannot be opened cannot be written either; the server reports it.
            if let Ok(directory) = PathFd::new(directory) {
                ruleset = ruleset.add_rule(PathBeneath::new(directory, WRITES))?;
            }
        }
        Ok(match ruleset.restrict_self()?.ruleset {
            RulesetStatus::FullyEnforced => Restriction::Full,
            RulesetStatus::PartiallyEnforced => Restriction::Partial,
            RulesetStatus::NotEnforced => Restriction::None,
        })
    }

    /// Whether the kernel can restrict a process.
    pub(crate) fn is_available() -> bool {
        let required = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        required.handle_access(AccessFs::from_all(ABI::V1)).and_then(Ruleset::create).is_ok()
    }
}

/// Restricts what this process and its later threads may write to these directories and what is in them.
#[cfg(feature = "full")]
pub(crate) fn restrict(directories: &[PathBuf]) -> Restriction {
    // An error is that of a kernel which lacks it.
    kernel::restrict(directories).unwrap_or(Restriction::None)
}

/// Whether [`restrict`] has an effect here.
#[cfg(feature = "full")]
pub(crate) fn is_available() -> bool {
    kernel::is_available()
}

/// Does nothing: this version was built without it.
#[cfg(not(feature = "full"))]
pub(crate) fn restrict(_directories: &[PathBuf]) -> Restriction {
    Restriction::None
}

/// Whether [`restrict`] has an effect here.
#[cfg(not(feature = "full"))]
pub(crate) fn is_available() -> bool {
    false
}

#[cfg(all(test, feature = "full"))]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn thread_writes_to_its_directories_only_and_starts_no_program() {
        let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (inside, outside) = (own.path().join("a"), other.path().join("b"));
        // A thread of its own, because the restriction cannot be lifted.
        let restricted = std::thread::spawn({
            let (directory, inside, outside) =
                (own.path().to_owned(), inside.clone(), outside.clone());
            move || {
                let restriction = restrict(&[directory.clone(), "/does/not/exist".into()]);
                fs::write(&inside, "x").unwrap();
                fs::rename(&inside, directory.join("c")).unwrap();
                fs::read_dir("/").unwrap();
                let wrote = fs::write(outside, "x").is_ok();
                let ran = std::process::Command::new("true").status().is_ok();
                (restriction, wrote, ran)
            }
        });
        let (restriction, wrote, ran) = restricted.join().unwrap();
        match is_available() {
            true => assert_eq!((restriction, wrote, ran), (Restriction::Full, false, false)),
            false => assert_eq!((restriction, wrote, ran), (Restriction::None, true, true)),
        }
        fs::write(&outside, "x").unwrap();
    }
}
