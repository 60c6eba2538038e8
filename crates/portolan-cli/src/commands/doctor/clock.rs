//! Whether the clock of this host is behind the modification time of its own files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::ready;
use jiff::Timestamp;
use portolan_core::duration::format_duration;

use super::Check;
use super::finding::Finding;
use crate::context::Context;

pub(super) const CHECK: Check =
    Check { name: "clock", run: |context| ready(vec![check(context)]).boxed() };

/// Network file systems use the clock of another machine.
const TOLERANCE: Duration = Duration::from_secs(60);

fn check(context: &Context) -> Finding {
    let config = &context.settings().port_allocator;
    let state = config.state_directory().ok().flatten();
    let paths = [std::env::current_exe().ok(), config.runtime_directory().ok(), state];
    evaluate(&paths.into_iter().flatten().collect::<Vec<_>>(), SystemTime::now())
}

fn evaluate(paths: &[PathBuf], now: SystemTime) -> Finding {
    let behind = |path: &Path| {
        let changed = fs::metadata(path).and_then(|found| found.modified()).ok()?;
        changed.duration_since(now).ok().filter(|behind| *behind > TOLERANCE)
    };
    let worst = paths.iter().filter_map(|path| Some((behind(path)?, path))).max();
    let text = Timestamp::try_from(now).map(|now| now.strftime("%FT%TZ").to_string());
    match (worst, text) {
        (None, Ok(now)) => Finding::ok("the clock is not behind the files of this host", now),
        (None, Err(error)) => Finding::error("the clock is out of range", error, REMEDY),
        (Some((behind, path)), _) => Finding::error(
            "the clock was set back, so that messages and leases appear to be old",
            format_args!(
                "{} was modified {} in the future",
                path.display(),
                format_duration(Duration::from_secs(behind.as_secs()))
            ),
            REMEDY,
        ),
    }
}

const REMEDY: &str = "synchronise the clock by NTP, with chrony or systemd-timesyncd";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Severity;

    #[test]
    fn clock_behind_a_file_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let paths = [directory.path().to_owned(), PathBuf::from("/nowhere/at/all")];
        let now = SystemTime::now();
        assert_eq!(evaluate(&paths, now).severity, Severity::Ok);
        let earlier = now - Duration::from_secs(3600);
        assert_eq!(evaluate(&paths, earlier).severity, Severity::Error);
    }
}
