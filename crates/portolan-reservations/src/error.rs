//! Errors of the reservation table.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use portolan_core::Remedy;

use crate::lock_holder::LockHolder;

/// Why the reservation table cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// A system call failed. Retrying may help if a resource was short.
    #[error("cannot use the reservation table {}: {source}", path.display())]
    Unusable {
        /// The table's file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The file is not a regular file that only this user can access. Retrying does not help.
    #[error(
        "the reservation table {} must be a regular file with one link, owned by this user and with mode 600",
        path.display()
    )]
    NotOwned {
        /// The table's file.
        path: PathBuf,
    },
    /// The file is damaged, and sessions use it. Retrying helps once they ended.
    #[error("the reservation table {} is damaged and in use", path.display())]
    Damaged {
        /// The table's file.
        path: PathBuf,
    },
    /// Sessions of another version of Portolan use the table. Retrying helps once they ended.
    #[error(
        "the reservation table {} is in use by another version of Portolan: its layout is {found}, expected {expected}",
        path.display()
    )]
    OtherVersion {
        /// The table's file.
        path: PathBuf,
        /// The version of its layout.
        found: u64,
        /// The version of the layout that this version of Portolan uses.
        expected: u64,
    },
    /// The file was removed while in use. A new allocator uses a new table.
    #[error("the reservation table {} was removed while in use", path.display())]
    Removed {
        /// The table's file.
        path: PathBuf,
    },
    /// Another process of this user has locked the table for more than 5 s. Retrying may help.
    #[error(
        "the reservation table {} has been locked by {} for more than 5 s",
        path.display(), holder.as_ref().map_or("another process".into(), ToString::to_string)
    )]
    Busy {
        /// The table's file.
        path: PathBuf,
        /// The process, if the system shows it.
        holder: Option<LockHolder>,
    },
    /// Every session is in use. Retrying helps once one ended.
    #[error("the reservation table {} has no free session: all {limit} are in use", path.display())]
    Full {
        /// The table's file.
        path: PathBuf,
        /// The largest number of sessions at a time.
        limit: usize,
    },
}

impl Remedy for TableError {
    fn remedy(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self {
            Self::Unusable { .. } => "check the disk's free space and the file's permissions",
            Self::NotOwned { .. } => "remove it",
            Self::Damaged { .. } => "end the programs that hold ports, then try again",
            Self::OtherVersion { .. } => {
                "end the programs of the other version that hold ports, or use one version for all"
            }
            Self::Removed { .. } => "start this program again",
            Self::Busy { .. } => "a stopped or hanging process holds the lock: resume it or end it",
            Self::Full { .. } => "end some programs that hold ports",
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Depth, InvalidDepth};

    #[test]
    fn texts_and_remedies() {
        let path = || PathBuf::from("/run/user/1000/portolan/ports.table");
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let depth: InvalidDepth = "deep".parse::<Depth>().unwrap_err();
        let holder = || Some(LockHolder { pid: 42, name: "portolan".to_owned() });
        let errors: [Box<dyn Remedy>; 9] = [
            Box::new(TableError::Unusable { path: path(), source: denied() }),
            Box::new(TableError::NotOwned { path: path() }),
            Box::new(TableError::Damaged { path: path() }),
            Box::new(TableError::OtherVersion { path: path(), found: 4, expected: 5 }),
            Box::new(TableError::Removed { path: path() }),
            Box::new(TableError::Busy { path: path(), holder: None }),
            Box::new(TableError::Busy { path: path(), holder: holder() }),
            Box::new(TableError::Full { path: path(), limit: 16_384 }),
            Box::new(depth),
        ];
        let text = |error: Box<dyn Remedy>| {
            format!("{error}\n  remedy: {}\n", error.remedy().unwrap_or("none".into()))
        };
        insta::assert_snapshot!(errors.into_iter().map(text).collect::<String>());
    }
}
