//! How many files, and so sockets, a process may have open.

use std::fs;

use futures_util::FutureExt as _;
use futures_util::future::ready;
use rustix::process::{Resource, getrlimit};

use super::Check;
use super::finding::Finding;

pub(super) const CHECK: Check =
    Check { name: "open files", run: |_| ready(vec![of_process(), of_system()]).boxed() };

/// With fewer not even a command with a registry and a broadcast channel gets by.
const LEAST: u64 = 64;
/// With fewer a registry serves fewer services than it may keep watches for.
const USUAL: u64 = 1024;
/// From here on, in percent, the system is short of files.
const MUCH: u64 = 90;

fn of_process() -> Finding {
    let limit = getrlimit(Resource::Nofile);
    let (soft, hard) = (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX));
    judge(soft, hard)
}

fn judge(soft: u64, hard: u64) -> Finding {
    let hard_text = if hard == u64::MAX { "any number".to_owned() } else { hard.to_string() };
    let evidence = format!(
        "{soft} at once, and up to {hard_text} where asked for; a lease takes up to 3, each connection of a registry 1"
    );
    let what = "this user may have few files open";
    let remedy = format!(
        "raise the limit before starting a registry or many services: `ulimit -n {}`, or LimitNOFILE= of its unit",
        hard.min(10_240)
    );
    match soft {
        ..LEAST => Finding::error(what, evidence, &remedy),
        LEAST..USUAL => Finding::warning(what, evidence, &remedy),
        _ => Finding::ok("a process may have enough files open", evidence),
    }
}

fn of_system() -> Finding {
    let text = fs::read_to_string("/proc/sys/fs/file-nr").unwrap_or_default();
    match parse(&text) {
        Some((open, limit)) if open >= limit / 100 * MUCH => Finding::warning(
            "the system is short of files",
            format_args!("{open} of {limit} are open (/proc/sys/fs/file-nr)"),
            "find who opens so many; or, as root, raise the limit",
        )
        .command(format!("sysctl -w fs.file-max={}", limit.saturating_mul(2))),
        Some((open, limit)) => {
            Finding::ok("the system has files left", format_args!("{open} of {limit} are open"))
        }
        None => {
            Finding::ok("the system does not tell how many files are open", "/proc/sys/fs/file-nr")
        }
    }
}

/// Reads `open  unused  limit`.
fn parse(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.split_whitespace().map(str::parse);
    let open = numbers.next()?.ok()?;
    Some((open, numbers.nth(1)?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Severity;

    #[test]
    fn the_fewer_files_the_worse() {
        let severity = |soft| judge(soft, 4096).severity;
        assert_eq!([0, 63].map(severity), [Severity::Error; 2]);
        assert_eq!([64, 1023].map(severity), [Severity::Warning; 2]);
        assert_eq!([1024, u64::MAX].map(severity), [Severity::Ok; 2]);
        assert!(judge(64, 4096).for_people("open files").contains("ulimit -n 4096"));
    }

    #[test]
    fn the_systems_count_is_read() {
        assert_eq!(parse("1824\t0\t9223372036854775807\n"), Some((1824, i64::MAX as u64)));
        assert_eq!(parse("1824"), None);
        assert_eq!(parse(""), None);
    }
}
