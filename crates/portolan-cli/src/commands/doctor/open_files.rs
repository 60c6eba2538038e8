//! The limits on open files, which include sockets, of a process and of the system.

use futures_util::FutureExt as _;
use futures_util::future::ready;
use portolan_host_facts::sysctl;
use rustix::process::{Resource, getrlimit};

use super::Check;
use super::finding::Finding;

pub(super) const CHECK: Check =
    Check { name: "open_files", run: |_| ready(vec![check_process(), check_system()]).boxed() };

/// The least number of files for a command with a registry and a broadcast channel.
const MINIMUM: u64 = 64;
/// The least number of files for a registry.
const RECOMMENDED: u64 = 1024;
/// The usage in percent from which the system is running out of files.
const NEARLY_ALL: u64 = 90;

fn check_process() -> Finding {
    let limit = getrlimit(Resource::Nofile);
    let (soft, hard) = (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX));
    evaluate(soft, hard)
}

fn evaluate(soft: u64, hard: u64) -> Finding {
    let hard_text = if hard == u64::MAX { "no limit".to_owned() } else { hard.to_string() };
    let evidence = format!(
        "soft limit {soft}, hard limit {hard_text}; a lease needs up to 3, each connection of a registry 1"
    );
    let what = "the limit on open files is low";
    let remedy = format!(
        "raise the limit before starting a registry or many services: `ulimit -n {}`, or LimitNOFILE= in its systemd unit",
        hard.min(10_240)
    );
    match soft {
        ..MINIMUM => Finding::error(what, evidence, &remedy),
        MINIMUM..RECOMMENDED => Finding::warning(what, evidence, &remedy),
        _ => Finding::ok("the limit on open files is sufficient", evidence),
    }
}

fn check_system() -> Finding {
    match sysctl::open_files() {
        Some((open, limit)) if open >= limit / 100 * NEARLY_ALL => Finding::warning(
            "the system is running out of files",
            format_args!("{open} of {limit} are open (/proc/sys/fs/file-nr)"),
            "find the process that opens so many, or, as root, raise the limit",
        )
        .command(format!("sysctl -w fs.file-max={}", limit.saturating_mul(2))),
        Some((open, limit)) => Finding::ok(
            "the system can open more files",
            format_args!("{open} of {limit} are open"),
        ),
        None => Finding::ok(
            "the system does not report the number of open files",
            "/proc/sys/fs/file-nr",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Severity;

    #[test]
    fn severity_grows_with_a_lower_limit() {
        let severity = |soft| evaluate(soft, 4096).severity;
        assert_eq!([0, 63].map(severity), [Severity::Error; 2]);
        assert_eq!([64, 1023].map(severity), [Severity::Warning; 2]);
        assert_eq!([1024, u64::MAX].map(severity), [Severity::Ok; 2]);
        assert!(evaluate(64, 4096).to_text("open_files").contains("ulimit -n 4096"));
    }
}
