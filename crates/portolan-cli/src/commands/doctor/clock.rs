//! Whether this host's clock can be right: it is not behind what happened on it already.

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
    Check { name: "clock", run: |context| ready(vec![look(context)]).boxed() };

/// Filesystems of a network keep another machine's time.
const TOLERANCE: Duration = Duration::from_secs(60);

fn look(context: &Context) -> Finding {
    let config = &context.settings().port_allocator;
    let state = config.state_directory().ok().flatten();
    let places = [std::env::current_exe().ok(), config.runtime_directory().ok(), state];
    judge(&places.into_iter().flatten().collect::<Vec<_>>(), SystemTime::now())
}

fn judge(places: &[PathBuf], now: SystemTime) -> Finding {
    let behind = |path: &Path| {
        let changed = fs::metadata(path).and_then(|found| found.modified()).ok()?;
        changed.duration_since(now).ok().filter(|behind| *behind > TOLERANCE)
    };
    let worst = places.iter().filter_map(|path| Some((behind(path)?, path))).max();
    let text = Timestamp::try_from(now).map(|now| now.strftime("%FT%TZ").to_string());
    match (worst, text) {
        (None, Ok(now)) => Finding::ok("the clock is not behind what happened already", now),
        (None, Err(error)) => Finding::error("the clock is far off", error, REMEDY),
        (Some((behind, path)), _) => Finding::error(
            "the clock was set back, and messages and leases will be taken for old ones",
            format_args!(
                "{} was changed {} from now",
                path.display(),
                format_duration(Duration::from_secs(behind.as_secs()))
            ),
            REMEDY,
        ),
    }
}

const REMEDY: &str = "set it by NTP, as chrony or systemd-timesyncd do";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Severity;

    #[test]
    fn a_clock_behind_a_file_was_set_back() {
        let folder = tempfile::tempdir().unwrap();
        let places = [folder.path().to_owned(), PathBuf::from("/nowhere/at/all")];
        let now = SystemTime::now();
        assert_eq!(judge(&places, now).severity, Severity::Ok);
        let earlier = now - Duration::from_secs(3600);
        assert_eq!(judge(&places, earlier).severity, Severity::Error);
    }
}
