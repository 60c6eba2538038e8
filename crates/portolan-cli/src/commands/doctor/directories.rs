//! The runtime directory, which has the reservation table, and the state directory.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use futures_util::FutureExt as _;
use futures_util::future::ready;
use rustix::fs::{Access, StatFs};

use super::Check;
use super::finding::Finding;
use crate::context::Context;
use crate::exit::{Exit, Failure};

pub(super) const CHECK: Check =
    Check { name: "directories", run: |context| ready(check(context)).boxed() };

/// The size of the reservation table when every port is leased, in bytes, rounded up.
const TABLE_SIZE: u64 = 40 * 1024 * 1024;
/// The id of the current boot (proc_sys_kernel(5)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The magic number of each file system (statfs(2)), its name, and whether several hosts may share
/// it. On a shared file system a lock does not show whether its owner lives.
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

fn check(context: &Context) -> Vec<Finding> {
    let config = &context.settings().port_allocator;
    let runtime = match config.runtime_directory() {
        Ok(path) => check_directory(&path, "port_allocator.runtime_dir", true),
        Err(error) => directory_error(&error),
    };
    vec![runtime, check_boot_id(), check_state_directory(context)]
}

fn check_state_directory(context: &Context) -> Finding {
    let config = &context.settings().port_allocator;
    if !config.sticky {
        return Finding::ok("ports are not sticky", "port_allocator.sticky is false");
    }
    match config.state_directory() {
        Ok(Some(path)) => check_directory(&path, "port_allocator.state_dir", false),
        Ok(None) => Finding::warning(
            "sticky ports cannot be stored",
            "no state directory is configured",
            "set HOME, XDG_STATE_HOME or port_allocator.state_dir",
        ),
        Err(error) => directory_error(&error),
    }
}

fn directory_error(error: &portolan_host_facts::DirectoryError) -> Finding {
    Finding::from_failure("a directory cannot be used", &Failure::from_error(Exit::Failed, error))
}

/// Checks a directory that exists and belongs to this user: the configuration creates it so.
fn check_directory(path: &Path, setting: &str, shares_memory: bool) -> Finding {
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
        let remedy = format!("set {setting} to a directory on this host, such as one in /run");
        return Finding::warning(
            "the directory of the reservation table may be shared with other hosts",
            evidence,
            &remedy,
        );
    }
    if shares_memory && free < TABLE_SIZE {
        let remedy = format!("free space there, or set {setting} to another directory");
        return Finding::warning(
            "the file system of the reservation table is nearly full",
            evidence,
            &remedy,
        );
    }
    Finding::ok("the directory exists and only this user can use it", evidence)
}

fn cannot_use(path: &Path, setting: &str, error: &impl std::fmt::Display) -> Finding {
    let evidence = format!("{}: {error}", path.display());
    let remedy =
        format!("make it writable for this user only, or set {setting} to another directory");
    Finding::error("a directory cannot be used", evidence, &remedy)
}

fn check_boot_id() -> Finding {
    match fs::read_to_string(BOOT_ID) {
        Ok(_) => Finding::ok("the boot id can be read", BOOT_ID),
        Err(error) => Finding::error(
            "the boot id cannot be read",
            format_args!("{BOOT_ID}: {error}"),
            "mount /proc where Portolan runs",
        ),
    }
}

fn filesystem(system: &StatFs) -> (&'static str, bool) {
    // The type of the number depends on the architecture, its lower 32 bits do not.
    let kind = system.f_type as u64 & 0xffff_ffff;
    let known = FILESYSTEMS.iter().find(|(number, ..)| *number == kind);
    known.map_or(("another file system", false), |(_, name, shared)| (name, *shared))
}

fn free_bytes(system: &StatFs) -> u64 {
    system.f_bavail.saturating_mul(u64::try_from(system.f_bsize).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Severity;

    #[test]
    fn private_directory_has_no_problem() {
        let directory = tempfile::tempdir().unwrap();
        let found = check_directory(directory.path(), "some.setting", false);
        assert_eq!(found.severity, Severity::Ok);
    }

    #[test]
    fn missing_directory_is_an_error_that_names_the_setting() {
        let found = check_directory(Path::new("/nowhere/at/all"), "some.setting", true);
        assert_eq!(found.severity, Severity::Error);
        let text = found.to_text("directories");
        assert!(text.contains("/nowhere/at/all") && text.contains("some.setting"), "{text}");
    }

    #[test]
    fn unknown_file_system_is_not_shared() {
        let system = rustix::fs::statfs("/proc").unwrap();
        assert_eq!(filesystem(&system), ("another file system", false));
    }
}
