//! The folders of the table of reservations and of the ports of the last run.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use futures_util::FutureExt as _;
use futures_util::future::ready;
use rustix::fs::{Access, StatFs};

use super::Check;
use super::finding::{Finding, Severity};
use crate::context::Context;

pub(super) const CHECK: Check =
    Check { name: "folders", run: |context| ready(look(context)).boxed() };

/// What the table takes where every port of a host is leased, in bytes, and a little more.
const ROOM: u64 = 40 * 1024 * 1024;
/// What tells one boot from another.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Filesystems by the number that statfs(2) gives them. Processes of several hosts share the ones
/// that say so, and no lock there tells who of them lives.
const FILESYSTEMS: [(u64, &str, bool); 12] = [
    (0x0102_1994, "tmpfs", false),
    (0xef53, "ext4", false),
    (0x5846_5342, "xfs", false),
    (0x9123_683e, "btrfs", false),
    (0x2fc1_2fc1, "zfs", false),
    (0xf2f5_2010, "f2fs", false),
    (0x794c_7630, "overlayfs", false),
    (0x6573_5546, "fuse", true),
    (0x6969, "nfs", true),
    (0xff53_4d42, "cifs", true),
    (0xfe53_4d42, "smb2", true),
    (0x0102_1997, "9p", true),
];

fn look(context: &Context) -> Vec<Finding> {
    let config = &context.settings().port_allocator;
    let runtime = match config.runtime_directory() {
        Ok(path) => of_folder(&path, "port_allocator.runtime_dir", true),
        Err(error) => of_error(&error),
    };
    vec![runtime, of_boot_id(), of_state(context)]
}

fn of_state(context: &Context) -> Finding {
    let config = &context.settings().port_allocator;
    if !config.sticky {
        return Finding::ok("no port is remembered", "port_allocator.sticky is false");
    }
    match config.state_directory() {
        Ok(Some(path)) => of_folder(&path, "port_allocator.state_dir", false),
        Ok(None) => Finding::warning(
            "ports cannot be remembered",
            "nothing says where",
            "set HOME, XDG_STATE_HOME or port_allocator.state_dir",
        ),
        Err(error) => of_error(&error),
    }
}

fn of_error(error: &portolan_port_allocator::DirectoryError) -> Finding {
    Finding::of(Severity::Error, "a folder cannot be used", error)
}

/// The folder is there and ours alone: that was seen to when it was opened.
fn of_folder(path: &Path, setting: &str, shares_memory: bool) -> Finding {
    let (metadata, system) = match (fs::metadata(path), rustix::fs::statfs(path)) {
        (Ok(metadata), Ok(system)) => (metadata, system),
        (Err(error), _) => return cannot_use(path, setting, &error),
        (_, Err(error)) => return cannot_use(path, setting, &error),
    };
    if let Err(error) = rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK) {
        return cannot_use(path, setting, &error);
    }
    let (filesystem, is_shared) = filesystem(&system);
    let free = free_bytes(&system);
    let mode = metadata.mode() & 0o777;
    let evidence = format!(
        "{}, mode {mode:o}, on {filesystem} with {} MiB free",
        path.display(),
        free / 1024 / 1024
    );
    if shares_memory && is_shared {
        let remedy = format!("set {setting} to a folder on this host, such as one below /run");
        return Finding::warning("other hosts may share the table's folder", evidence, &remedy);
    }
    if shares_memory && free < ROOM {
        let remedy = format!("make room there, or set {setting} to another folder");
        return Finding::warning("the table's folder is nearly full", evidence, &remedy);
    }
    Finding::ok("the folder is there, and yours alone", evidence)
}

fn cannot_use(path: &Path, setting: &str, error: &impl std::fmt::Display) -> Finding {
    let evidence = format!("{}: {error}", path.display());
    let remedy = format!("make it writable for you alone, or set {setting} to another folder");
    Finding::error("a folder cannot be used", evidence, &remedy)
}

fn of_boot_id() -> Finding {
    match fs::read_to_string(BOOT_ID) {
        Ok(_) => Finding::ok("one boot is told from another", BOOT_ID),
        Err(error) => Finding::error(
            "one boot cannot be told from another",
            format_args!("{BOOT_ID}: {error}"),
            "mount /proc where Portolan runs",
        ),
    }
}

fn filesystem(system: &StatFs) -> (&'static str, bool) {
    // The number's type is another one on each architecture, its bits are not.
    let kind = system.f_type as u64 & 0xffff_ffff;
    let known = FILESYSTEMS.iter().find(|(number, ..)| *number == kind);
    known.map_or(("another filesystem", false), |(_, name, shared)| (name, *shared))
}

fn free_bytes(system: &StatFs) -> u64 {
    system.f_bavail.saturating_mul(u64::try_from(system.f_bsize).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_ones_own_is_well() {
        let folder = tempfile::tempdir().unwrap();
        let found = of_folder(folder.path(), "some.setting", false);
        assert_eq!(found.severity, Severity::Ok);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named_with_its_setting() {
        let found = of_folder(Path::new("/nowhere/at/all"), "some.setting", true);
        assert_eq!(found.severity, Severity::Error);
        let text = found.for_people("folders");
        assert!(text.contains("/nowhere/at/all") && text.contains("some.setting"), "{text}");
    }

    #[test]
    fn the_filesystem_of_proc_is_one_that_is_not_shared() {
        let system = rustix::fs::statfs("/proc").unwrap();
        assert_eq!(filesystem(&system), ("another filesystem", false));
    }
}
